// The form that asks: its keys, its Run and Stop, its errors, and the turn that
// the next answer replaces.

import { forgetAll, leaveOut, liveStream, promptOf } from "./conversation.js";

const form = document.getElementById("composer");
const prompt = document.getElementById("prompt");
const run = document.getElementById("run");
const stop = document.getElementById("stop");
const panel = document.getElementById("panel");
const problem = () => document.getElementById("composer-error");

const hasFinePointer = matchMedia("(pointer: fine)");
const isNarrow = matchMedia("(max-width: 60rem)");

export class Composer {
  #isSending = false;
  #replaced = null;
  #isRetry = false;

  constructor() {
    document.addEventListener("keydown", (event) => this.#onKey(event));
    // Before htmx sees it: one answer at a time.
    document.addEventListener("submit", (event) => this.#onSubmit(event), true);
    form.addEventListener("htmx:before:swap", (event) => this.#onAnswer(event));
    form.addEventListener("htmx:error", () => this.#say("The server could not be reached. Your prompt is still here."));
    form.addEventListener("htmx:finally:request", () => this.#onSent());
    document.addEventListener("invalid", (event) => this.#onInvalid(event), true);
    // The picker and the parameters stand outside the form.
    document.addEventListener("input", ({ target }) => {
      if (target.form === form) this.#clearProblem();
    });
    stop.addEventListener("click", () => liveStream()?.abort());
    document.getElementById("keep-turn").addEventListener("click", () => this.#replace(null));
    document.getElementById("new-conversation").addEventListener("click", (event) => this.#startAnew(event));
    document.getElementById("welcome").addEventListener("click", ({ target }) => {
      const example = target.closest("[data-prompt]");
      if (example) this.fill(example.dataset.prompt);
    });
    isNarrow.addEventListener("change", () => panel.matches(":popover-open") && panel.hidePopover());
    this.refresh();
  }

  fill(text) {
    prompt.value = text;
    prompt.focus();
    prompt.setSelectionRange(text.length, text.length);
  }

  /** Puts the turn's prompt back; its answer is replaced by the next one. */
  edit(turn) {
    if (liveStream()) return;
    this.#replace(turn);
    this.fill(promptOf(turn));
  }

  /** Asks the turn's prompt again; what is being typed stays. */
  retry(turn) {
    if (liveStream() || this.#isSending) return;
    const draft = prompt.value;
    this.#replace(turn);
    this.#isRetry = true;
    prompt.value = promptOf(turn);
    form.requestSubmit();
    prompt.value = draft;
    if (!this.#isSending) this.#replace(null);
  }

  /** Shows Run or Stop, whichever fits. */
  refresh() {
    const isStreaming = Boolean(liveStream());
    const hadFocus = [run, stop].includes(document.activeElement);
    stop.hidden = !isStreaming;
    run.hidden = isStreaming;
    run.disabled = this.#isSending;
    // Focusing a field on a touch screen would bring up the keyboard.
    if (hadFocus && hasFinePointer.matches) prompt.focus();
  }

  #onKey(event) {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") {
      if (panel.matches(":popover-open")) return;
      if (liveStream()) liveStream().abort();
      else if (this.#replaced) this.#replace(null);
      return;
    }
    if (event.key !== "Enter" || event.defaultPrevented) return;
    const isCommand = event.ctrlKey || event.metaKey;
    const isPlain = !event.shiftKey && !event.altKey && event.target === prompt && hasFinePointer.matches;
    if (!isCommand && !isPlain) return;
    event.preventDefault();
    if (!liveStream() && !this.#isSending) form.requestSubmit();
  }

  #onSubmit(event) {
    if (event.target !== form) return;
    if (liveStream() || this.#isSending) {
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    this.#isSending = true;
    this.#clearProblem();
    this.refresh();
  }

  // 201 brings a turn, a refusal its own error fragment; anything else (a proxy's
  // page, say) must not land in the conversation.
  #onAnswer(event) {
    const { ctx, tasks } = event.detail;
    if (ctx.response.status === 201) {
      this.#replaced?.remove();
      this.#replaced = null;
      document.getElementById("welcome").hidden = true;
      document.getElementById("editing").hidden = true;
      if (!this.#isRetry) prompt.value = "";
    } else if (!tasks.some((task) => task.target?.id === "composer-error")) {
      event.preventDefault();
      this.#say(`The server answered with status ${ctx.response.status}. Your prompt is still here.`);
    }
  }

  #onSent() {
    this.#isSending = false;
    if (this.#isRetry) this.#replace(null);
    this.#isRetry = false;
    this.refresh();
    const name = problem().dataset.field;
    const field = name && form.elements.namedItem(name);
    if (!field?.setAttribute) return;
    field.setAttribute("aria-invalid", "true");
    const isInPanel = panel.contains(field) && isNarrow.matches;
    if (isInPanel && !panel.matches(":popover-open")) panel.showPopover();
    field.focus();
    if (!isInPanel) return;
    // The panel covers the message: the field says it as well.
    field.setCustomValidity(problem().textContent.trim());
    field.reportValidity();
  }

  // A field that is out of sight could not say what is wrong with it.
  #onInvalid(event) {
    if (event.target.form !== form) return;
    this.#isSending = false;
    if (panel.contains(event.target) && isNarrow.matches && !panel.matches(":popover-open")) panel.showPopover();
  }

  #say(message) {
    const paragraph = document.createElement("p");
    const text = document.createElement("span");
    paragraph.className = "problem";
    text.textContent = message;
    paragraph.append(text);
    problem().replaceChildren(paragraph);
    delete problem().dataset.field;
  }

  #clearProblem() {
    problem().replaceChildren();
    delete problem().dataset.field;
    for (const field of document.querySelectorAll("[aria-invalid]")) {
      field.removeAttribute("aria-invalid");
      field.setCustomValidity("");
    }
  }

  #replace(turn) {
    if (this.#replaced) leaveOut(this.#replaced, false);
    this.#replaced = turn;
    if (turn) leaveOut(turn, true);
    document.getElementById("editing").hidden = !turn;
  }

  #startAnew(event) {
    event.preventDefault();
    liveStream()?.abort();
    this.#replace(null);
    this.#clearProblem();
    forgetAll();
    document.getElementById("welcome").hidden = false;
    document.getElementById("context").hidden = true;
    document.getElementById("jump").hidden = true;
    this.refresh();
    prompt.focus();
  }
}
