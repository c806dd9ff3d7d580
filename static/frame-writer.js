// Hands text on once a frame at most, however often it comes. Knows nothing of where
// it comes from and of what is made of it.

// A hidden tab gets no animation frames; its timers run about once a second.
const HIDDEN_WRITE_MILLISECONDS = 250;
// A write that took long is followed by a pause this many times as long. Most take a
// millisecond or two and need none.
const PAUSE_PER_WRITE = 3;
const LONG_WRITE_MILLISECONDS = 8;

export class FrameWriter {
  #write;
  #waiting = "";
  #frame = 0;
  #timer = 0;
  #notBefore = 0;

  /** `write` is called with all text that has come since. */
  constructor(write) {
    this.#write = write;
  }

  add(text) {
    this.#waiting += text;
    this.#schedule();
  }

  /** The text that waits, for whoever writes it now. */
  take() {
    this.#unschedule();
    const text = this.#waiting;
    this.#waiting = "";
    return text;
  }

  /** To be called when the tab has been hidden or shown. */
  reschedule() {
    if (!this.#waiting) return;
    this.#unschedule();
    this.#schedule();
  }

  #schedule() {
    if (this.#frame || this.#timer) return;
    const pause = this.#notBefore - performance.now();
    if (document.hidden || pause > 0) {
      this.#timer = setTimeout(this.#flush, Math.max(pause, document.hidden ? HIDDEN_WRITE_MILLISECONDS : 0));
    } else {
      this.#frame = requestAnimationFrame(this.#flush);
    }
  }

  #unschedule() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = this.#timer = 0;
  }

  #flush = () => {
    const start = performance.now();
    this.#write(this.take());
    const spent = performance.now() - start;
    this.#notBefore = spent > LONG_WRITE_MILLISECONDS ? start + spent * (1 + PAUSE_PER_WRITE) : 0;
  };
}
