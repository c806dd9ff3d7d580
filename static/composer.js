// The form that asks: its keys, its Run and Stop, its errors, and the turns that
// the next answer replaces.

import { forgetAll, leaveOut, liveStream, promptOf, turnsFrom } from "./conversation.js";
import { keepTab, setAside } from "./tab-memory.js";
import { say, sayCount } from "./words.js";

const form = document.getElementById("composer");
const prompt = document.getElementById("prompt");
const run = document.getElementById("run");
const stop = document.getElementById("stop");
const panel = document.getElementById("panel");
const editing = document.getElementById("editing");
const problem = () => document.getElementById("composer-error");
// What Escape closes by itself: dialogs, and popovers but those that stay until they are closed.
const isCovered = () => Boolean(document.querySelector("dialog:modal, [popover]:not([popover=manual]):popover-open"));

const hasFinePointer = matchMedia("(pointer: fine)");
const isNarrow = matchMedia("(max-width: 60rem)");

export class Composer {
  #isSending = false;
  // The answer that is on its way belongs to a conversation that has been left.
  #isForsaken = false;
  // Turns that the next answer replaces, and what stood in the prompt before one of them was edited.
  #replaced = [];
  #draft = "";
  #isRetry = false;

  constructor() {
    document.addEventListener("keydown", (event) => this.#onKey(event));
    // Before htmx sees it: one answer at a time.
    document.addEventListener("submit", (event) => this.#onSubmit(event), true);
    form.addEventListener("htmx:before:swap", (event) => this.#onAnswer(event));
    form.addEventListener("htmx:error", () => this.say(say("The server could not be reached. Your prompt is still here.")));
    form.addEventListener("htmx:finally:request", () => this.#onSent());
    document.addEventListener("invalid", (event) => this.#onInvalid(event), true);
    // The picker and the parameters stand outside the form.
    document.addEventListener("input", ({ target }) => {
      if (target.form === form) this.#clearProblem();
    });
    stop.addEventListener("click", () => liveStream()?.abort());
    document.getElementById("keep-turn").addEventListener("click", () => this.#keep());
    for (const id of ["new-conversation", "start-anew"]) {
      document.getElementById(id).addEventListener("click", (event) => this.#startAnew(event));
    }
    document.getElementById("welcome").addEventListener("click", ({ target }) => {
      const example = target.closest("[data-prompt]");
      if (example) this.fill(example.dataset.prompt);
    });
    isNarrow.addEventListener("change", () => panel.matches(":popover-open") && panel.hidePopover());
    this.refresh();
  }

  fill(text) {
    prompt.value = text;
    prompt.dispatchEvent(new Event("input", { bubbles: true }));
    prompt.focus();
    prompt.setSelectionRange(text.length, text.length);
  }

  /** Puts the turn's prompt back; the next answer replaces its own and all later turns. */
  edit(turn) {
    if (liveStream() || this.#isSending) return;
    if (!this.#replaced.length) this.#draft = prompt.value;
    const replaced = turnsFrom(turn);
    this.#replace(replaced);
    editing.querySelector("span").textContent =
      replaced.length === 1
        ? say("The last turn is replaced when you run.")
        : sayCount(
            "This turn and the one after it are replaced when you run.",
            "This turn and the {count} after it are replaced when you run.",
            replaced.length - 1,
          );
    editing.hidden = false;
    this.fill(promptOf(turn));
  }

  /** Puts back the prompt of a turn that failed, unless something else has been typed meanwhile. */
  takeBack(turn) {
    if (!prompt.value && !this.#replaced.length) this.edit(turn);
  }

  /** What stands in the composer is another conversation's from now on. */
  begin() {
    this.#keep();
    this.#clearProblem();
    this.#isForsaken = this.#isSending;
    keepTab();
    this.showSetAside(setAside());
    document.getElementById("setup-note").hidden = true;
    forgetAll();
  }

  /** Offers to bring back the conversation that another one took the place of. */
  showSetAside(isOffered) {
    document.getElementById("set-aside").hidden = !isOffered;
  }

  /** Asks the turn's prompt again; what is being typed stays. */
  retry(turn) {
    if (liveStream() || this.#isSending) return;
    this.#keep();
    const draft = prompt.value;
    this.#replace([turn]);
    this.#isRetry = true;
    prompt.value = promptOf(turn);
    form.requestSubmit();
    prompt.value = draft;
    if (!this.#isSending) this.#replace([]);
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
    if (isCovered()) return;
    if (event.key === "Escape") {
      if (liveStream()) liveStream().abort();
      else if (this.#replaced.length) this.#keep();
      // Out of the field, where single letters are keys.
      else if (document.activeElement === prompt) prompt.blur();
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
    this.#isForsaken = false;
    this.#clearProblem();
    this.refresh();
  }

  // 201 brings a turn, a refusal its own error fragment; anything else (a proxy's
  // page, say) must not land in the conversation.
  #onAnswer(event) {
    const { ctx, tasks } = event.detail;
    // Without a reader the server ends it after a grace.
    if (this.#isForsaken) {
      event.preventDefault();
    } else if (ctx.response.status === 201) {
      for (const turn of this.#replaced) turn.remove();
      this.#replaced = [];
      document.getElementById("welcome").hidden = true;
      document.getElementById("setup-note").hidden = true;
      this.showSetAside(false);
      editing.hidden = true;
      if (!this.#isRetry) prompt.value = this.#draft;
      this.#draft = "";
    } else if (!tasks.some((task) => task.target?.id === "composer-error")) {
      event.preventDefault();
      this.say(say("The server answered with status {status}. Your prompt is still here.", ctx.response));
    }
  }

  #onSent() {
    this.#isSending = false;
    if (this.#isRetry) this.#replace([]);
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

  /** Shows what went wrong, where refusals are shown. */
  say(message) {
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

  #replace(turns) {
    for (const turn of this.#replaced) leaveOut(turn, false);
    this.#replaced = turns;
    for (const turn of turns) leaveOut(turn, true);
    editing.hidden = true;
  }

  // Nothing is replaced after all.
  #keep() {
    if (!this.#replaced.length) return;
    this.#replace([]);
    prompt.value = this.#draft;
    this.#draft = "";
    document.dispatchEvent(new CustomEvent("conversation:changed"));
  }

  #startAnew(event) {
    event.preventDefault();
    liveStream()?.abort();
    this.begin();
    document.getElementById("welcome").hidden = false;
    document.getElementById("jump").hidden = true;
    document.getElementById("scroller").scrollTop = 0;
    this.refresh();
    prompt.focus();
  }
}
