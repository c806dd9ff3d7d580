// How many tokens would be sent now, against the context window: the model's own
// tokenizer counts, on the server. Where they are too many it says so before they
// are refused, and offers to leave out the oldest turn. Never drops one by itself.

import { allTurns, keepBack, liveStream, sentTurns } from "./conversation.js";
import { number, say } from "./words.js";

// A pause in typing.
const PAUSE_MILLISECONDS = 400;
// Above this share of the window it warns.
const NEARLY_FULL = 0.8;
const LONGEST_WAIT_SECONDS = 60;

const form = document.getElementById("composer");
const prompt = document.getElementById("prompt");
const context = document.getElementById("context");
const outgrown = document.getElementById("outgrown");
const leaveOutOldest = document.getElementById("leave-out-oldest");

export class TokenMeter {
  #card;
  #timer = 0;
  #asking = null;
  #isStale = false;
  #stateWas = "";

  /** `card` gives the chosen model's card. */
  constructor(card) {
    this.#card = card;
    document.addEventListener("input", ({ target }) => {
      if (target === prompt || target.id === "system") this.count();
    });
    for (const name of ["conversation:changed", "generation:started", "generation:ended"]) {
      document.addEventListener(name, () => this.count());
    }
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#isStale) this.count();
    });
    leaveOutOldest.addEventListener("click", () => {
      const [oldest] = sentTurns();
      if (oldest) keepBack(oldest, true);
      // The button goes as soon as there is room. Focusing a field on a touch screen would bring up the keyboard.
      if (matchMedia("(pointer: fine)").matches) prompt.focus();
    });
    this.count();
  }

  /** The model is another one, or in another state. */
  modelChanged() {
    const card = this.#card();
    const state = `${card?.dataset.model} ${card?.dataset.state}`;
    if (state !== this.#stateWas) this.count();
    this.#stateWas = state;
  }

  /** Counts as soon as nothing has changed for a moment. */
  count({ milliseconds = PAUSE_MILLISECONDS } = {}) {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#isStale = true;
    // Not by FormData: a conversation that is opened changes once for each of its turns.
    const { system, model } = form.elements;
    const isAnything = document.querySelector("[name=history]:enabled") || prompt.value.trim() || system.value.trim();
    if (isAnything && model.value) this.#timer = setTimeout(() => this.#ask(), milliseconds);
    else this.#hide();
  }

  async #ask() {
    // An answer that streams changes what is sent next; its end counts again.
    if (document.hidden || liveStream()) return;
    this.#isStale = false;
    const asking = (this.#asking = new AbortController());
    const all = new FormData(form);
    const fields = new URLSearchParams();
    for (const name of ["csrf_token", "model", "system", "history", "prompt"]) {
      for (const value of all.getAll(name)) fields.append(name, value);
    }
    try {
      const response = await fetch("/tokens", { method: "POST", body: fields, signal: asking.signal });
      const answer = await response.json();
      if (asking.signal.aborted) return;
      if (response.ok) this.#show(answer);
      else if (answer.error?.code === "ContextWindowExceeded") this.#showTooMany(null);
      else this.#hide();
      const seconds = Number(response.headers.get("Retry-After"));
      if (!response.ok && seconds) this.count({ milliseconds: 1000 * Math.min(seconds, LONGEST_WAIT_SECONDS) });
    } catch {
      // Typed on, or the server is away: the count is a help, and its absence no problem of the reader's.
      if (!asking.signal.aborted) this.#hide();
    }
  }

  #show({ prompt_tokens: tokens, context_window: window }) {
    if (tokens !== null && tokens > window) {
      this.#showTooMany(tokens, window);
      return;
    }
    outgrown.hidden = true;
    const isNearlyFull = tokens > NEARLY_FULL * window;
    let text = say("{tokens} of {window} tokens", { tokens, window });
    if (tokens === null) text = say("Tokens are counted once the model is loaded");
    else if (isNearlyFull) text = say("{tokens} of {window} tokens: nearly full", { tokens, window });
    this.#write(text, { tokens, window, level: isNearlyFull ? "high" : "" });
  }

  #showTooMany(tokens, window = Number(this.#card()?.dataset.contextWindow)) {
    // Past a length the server refuses to count.
    const counted = tokens === null ? say("more than {window}", { window }) : number(tokens);
    const hasTurns = sentTurns().length > 0;
    const values = { tokens: counted, window };
    outgrown.querySelector("span").textContent = hasTurns
      ? say("This conversation has {tokens} tokens; the model reads {window}. It would be refused.", values)
      : say("This prompt has {tokens} tokens; the model reads {window}. It would be refused: shorten it.", values);
    leaveOutOldest.hidden = !hasTurns;
    document.getElementById("start-anew").hidden = !allTurns().length;
    outgrown.hidden = false;
    this.#write(say("{tokens} of {window} tokens", values), { tokens: window, window, level: "over" });
  }

  #write(text, { tokens, window, level }) {
    const meter = context.querySelector("meter");
    meter.hidden = tokens === null;
    meter.max = window;
    meter.value = tokens ?? 0;
    context.dataset.level = level;
    document.getElementById("context-text").textContent = text;
    context.hidden = false;
  }

  #hide() {
    context.hidden = outgrown.hidden = true;
  }
}
