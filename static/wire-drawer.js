// The drawer that shows the wire: drawn once a frame at most, and only while it is open. All of it is text.

import { number as written, say } from "./words.js";

// Fractions of a pixel count as being at the end.
const AT_END_PIXELS = 8;

export class WireDrawer {
  #element;
  #log;
  #list;
  #frame = 0;

  constructor(element, log) {
    this.#element = element;
    this.#log = log;
    this.#list = element.querySelector("ol");
    log.onChange = () => this.#schedule();
    element.addEventListener("toggle", () => this.#schedule());
    element.addEventListener("beforetoggle", ({ newState }) => newState === "closed" && this.#giveFocusBack());
    element.addEventListener("keydown", (event) => this.#onKey(event));
    element.querySelector("[data-action=drop]").addEventListener("click", () => this.#drop());
    this.#schedule();
  }

  get #isOpen() {
    return this.#element.matches(":popover-open");
  }

  // Escape is for the drawer while it has the focus, and for the answer otherwise.
  #onKey(event) {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    this.#element.hidePopover();
  }

  // Browsers do it for the popovers that they close themselves.
  #giveFocusBack() {
    if (this.#element.contains(document.activeElement)) document.getElementById("show-wire").focus();
  }

  #schedule() {
    if (this.#isOpen) this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    const { entries, frames, bytes, reconnects, stream } = this.#log;
    const list = this.#list;
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < AT_END_PIXELS;
    list.hidden = !entries.length;
    const oldest = entries[0]?.number ?? Infinity;
    while (numberOf(list.firstElementChild) < oldest) list.firstElementChild.remove();
    const drawn = numberOf(list.lastElementChild) || 0;
    list.append(...entries.filter(({ number }) => number > drawn).map(row));
    if (isAtEnd) list.scrollTop = list.scrollHeight;

    const write = (name, count) => {
      this.#element.querySelector(`[data-wire=${name}]`).textContent = written(count);
    };
    write("frames", frames);
    write("bytes", bytes);
    write("reconnects", reconnects);
    this.#element.querySelector(".empty").hidden = Boolean(entries.length);
    this.#element.querySelector("[data-action=drop]").disabled = !stream || stream.isEnded;
  }

  async #drop() {
    const { stream } = this.#log;
    const address = stream.getAttribute("abort").replace(/abort$/, "drop");
    const token = document.querySelector("meta[name=csrf-token]").content;
    this.#log.note(say("You ask the server to drop the connection"));
    try {
      const { ok, status } = await fetch(address, { method: "POST", headers: { "X-CSRFToken": token } });
      if (!ok) this.#log.note(say("The server answered with status {status}.", { status }));
    } catch {
      this.#log.note(say("The server could not be reached."));
    }
  }
}

// Not a number where there is no row, which is less than nothing.
const numberOf = (row) => Number(row?.dataset.number);

function row({ number, at, sentence, id, event, data }) {
  const item = document.createElement("li");
  const time = element("span", say("{count} ms", { count: Math.round(at) }));
  item.dataset.number = number;
  if (sentence) {
    item.className = "connection";
    item.append(time, element("p", sentence));
    return item;
  }
  const lines = document.createElement("pre");
  if (id) lines.append(...line("id", id));
  if (event !== "message") lines.append(...line("event", event));
  for (const text of data.split("\n")) lines.append(...line("data", text));
  lines.lastChild.remove();
  item.append(time, lines);
  return item;
}

const line = (name, value) => [element("b", `${name}: `), value, "\n"];

const element = (name, text) => Object.assign(document.createElement(name), { textContent: text });
