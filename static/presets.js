// Presets of the system prompt and the parameters: those the page came with, and
// one's own, which this browser keeps only where somebody clicks Save.

import { readParameters, writeParameters } from "./parameters.js";
import { say } from "./words.js";

const KEY = "jeton.presets";
const MOST = 50;

const element = (id) => document.getElementById(id);
const isText = (value) => typeof value === "string";

export class Presets {
  #before = null;

  constructor() {
    const list = element("preset-list");
    list.addEventListener("click", ({ target }) => {
      const chosen = target.closest(".preset");
      if (chosen) this.#apply(JSON.parse(chosen.dataset.values), chosen.querySelector("strong").textContent);
      const deleted = target.closest(".delete");
      if (deleted) this.#delete(deleted.dataset.name);
    });
    element("undo-preset").addEventListener("click", () => {
      writeParameters(this.#before);
      this.#say(say("Undone."));
      element("presets").querySelector("summary").focus();
    });
    element("save-preset").addEventListener("click", () => this.#save());
    element("preset-name").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      // Not for the composer, whose Run it would be with Ctrl.
      event.stopPropagation();
      this.#save();
    });
    // Another tab has saved or deleted one.
    addEventListener("storage", ({ key }) => key === KEY && this.#draw());
    this.#draw();
  }

  #apply(values, name) {
    this.#before = readParameters();
    writeParameters(values);
    this.#say(say("“{name}” is set.", { name }), { canUndo: true });
  }

  #save() {
    const field = element("preset-name");
    const name = field.value.trim();
    if (!name) {
      this.#say(say("Give it a name first."));
      field.focus();
      return;
    }
    const others = readOwn().filter((preset) => preset.name !== name);
    if (others.length >= MOST) this.#say(say("There are {most} already: delete one first.", { most: MOST }));
    else if (writeOwn([...others, { name, values: readParameters() }])) {
      field.value = "";
      this.#say(say("Kept as “{name}” in this browser.", { name }));
    }
    this.#draw();
  }

  #delete(name) {
    if (writeOwn(readOwn().filter((preset) => preset.name !== name))) this.#say(say("“{name}” is deleted.", { name }));
    this.#draw();
    // The button that had the focus is gone.
    element("presets").querySelector("summary").focus();
  }

  #draw() {
    for (const item of element("preset-list").querySelectorAll(".own")) item.remove();
    for (const { name, values } of readOwn()) {
      const item = document.importNode(element("own-preset").content, true).firstElementChild;
      item.className = "own";
      item.querySelector("strong").textContent = name;
      item.querySelector(".muted").textContent = values.system;
      item.querySelector(".preset").dataset.values = JSON.stringify(values);
      const button = item.querySelector(".delete");
      button.dataset.name = name;
      button.setAttribute("aria-label", say("Delete “{name}”", { name }));
      element("preset-list").append(item);
    }
  }

  #say(sentence, { canUndo = false } = {}) {
    element("preset-outcome").textContent = sentence;
    element("undo-preset").hidden = !canUndo;
  }
}

function readOwn() {
  try {
    return JSON.parse(localStorage.getItem(KEY)).filter(isPreset).slice(0, MOST);
  } catch {
    return [];
  }
}

function writeOwn(presets) {
  try {
    if (presets.length) localStorage.setItem(KEY, JSON.stringify(presets));
    else localStorage.removeItem(KEY);
    return true;
  } catch {
    document.getElementById("preset-outcome").textContent = say("This browser keeps nothing for this site.");
    return false;
  }
}

const isPreset = (preset) =>
  isText(preset?.name) && isText(preset.values?.system) && Object.values(preset.values).every(isText);
