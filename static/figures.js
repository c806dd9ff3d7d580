// The live line under an answer: measured here while it streams, and replaced by
// the server's own figures at the end.

import { number, say } from "./words.js";

const seconds = (value) => `${number(value, value < 10 ? 2 : 1)} s`;
const rate = (value) => say("{rate} tokens/s", { rate: number(value, 1) });

export class Figures {
  finishReason = null;
  totalTokens = 0;
  #element;
  #startedAt = performance.now();
  #firstAt = 0;
  #lastAt = 0;
  // Those of an earlier page, which this one did not see arrive.
  #countBefore = 0;
  #count = 0;
  #usage = null;

  /** Goes on from the counts in the element's data attributes, where it has any; `usage` is the server's, if known. */
  constructor(element, usage = null) {
    const { totalTokens, counted, startedAt } = element.dataset;
    this.#element = element;
    this.#usage = usage;
    this.totalTokens = Number(totalTokens) || 0;
    this.#countBefore = Number(counted) || 0;
    if (startedAt) this.#startedAt -= Date.now() - Number(startedAt);
  }

  /** As the server said them; null before. */
  get usage() {
    return this.#usage;
  }

  get completionTokens() {
    return this.#usage?.completion_tokens ?? this.#countBefore + this.#count;
  }

  get counts() {
    return {
      totalTokens: String(this.totalTokens),
      counted: String(this.completionTokens),
      startedAt: String(Math.round(Date.now() - (performance.now() - this.#startedAt))),
    };
  }

  /** One more event with text arrived. */
  count() {
    this.#lastAt = performance.now();
    this.#firstAt ||= this.#lastAt;
    this.#count += 1;
  }

  /** Says which engine answers, as far as `status` tells. */
  engine({ device, precision }) {
    if (device || precision) this.#set("engine", [device, precision].filter(Boolean).join(" · "));
  }

  /** The server's own figures. They win over those measured here. */
  finish(usage) {
    this.#usage = usage;
    this.finishReason = usage.finish_reason;
    this.totalTokens = usage.total_tokens ?? 0;
  }

  draw() {
    if (!this.#count && !this.#usage) return;
    const usage = this.#usage ?? {};
    const first = usage.time_to_first_token ?? (this.#firstAt ? (this.#firstAt - this.#startedAt) / 1000 : null);
    const streamed = (this.#lastAt - this.#firstAt) / 1000;
    const speed = usage.tokens_per_second ?? (streamed > 0.2 ? (this.#count - 1) / streamed : null);
    const spent = usage.seconds ?? (performance.now() - this.#startedAt) / 1000;
    const isFirstKnown = this.#usage || !this.#countBefore;
    if (isFirstKnown) this.#set("first", first === null ? "" : seconds(first));
    this.#set("speed", speed ? rate(speed) : "");
    this.#set("tokens", number(this.completionTokens));
    this.#set("seconds", seconds(spent));
    this.#element.hidden = false;
  }

  #set(figure, text) {
    this.#element.querySelector(`[data-figure=${figure}]`).textContent = text;
  }
}
