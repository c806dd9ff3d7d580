// Plays a recorded answer again: start, pause, speed, and any place of it. Sits over a
// <token-stream recorded>, which reads the events; the record only tells which text came
// when. Knows nothing of the page around it.

import { number, say } from "./words.js";

// A longer wait for the first text can be skipped.
const LONG_WAIT_MILLISECONDS = 3000;
const ELSEWHERE = "token-stream[src]:not([recorded])";

const hasReducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class ReplayPlayer {
  #section;
  #stream;
  #slider;
  #total;
  // What was recorded: a promise of `texts` and `moments`, once somebody wants it.
  #record = null;
  #texts = null;
  #moments = [];
  // The place where the replay is, in milliseconds of the recording, and when it was there.
  #place = 0;
  #placedAt = 0;
  #isPlaying = false;
  #isAtEnd = true;
  #wasPlaying = false;
  #frame = 0;

  /** `section` is what _player.html has made, `stream` the recorded answer. */
  constructor(section, stream) {
    this.#section = section;
    this.#stream = stream;
    this.#slider = section.querySelector("input[type=range]");
    this.#total = Number(section.dataset.total);
    this.#button("toggle").addEventListener("click", () => this.toggle());
    this.#button("skip").addEventListener("click", () => this.#skipWait());
    this.#slider.addEventListener("input", () => this.#scrub());
    this.#slider.addEventListener("change", () => this.#endScrub());
    for (const type of ["pointerenter", "focusin"]) section.addEventListener(type, () => this.#load(), { once: true });
    section.querySelector(".speeds").addEventListener("change", () => this.#isPlaying && this.#play());
    stream.addEventListener("generation:written", () => this.#follow());
    stream.addEventListener("generation:ended", () => this.#end());
    document.addEventListener("generation:started", ({ target }) => this.#onStarted(target));
    document.addEventListener("generation:ended", () => this.#refresh());
    // Only while the player has the focus: a single letter that acts anywhere would have to be switched off (WCAG 2.1.4).
    section.addEventListener("keydown", (event) => this.#onKey(event));
    this.#show(this.#total);
  }

  toggle() {
    if (this.#button("toggle").disabled) return;
    if (this.#isPlaying) this.#pause();
    else this.#play();
  }

  get #speed() {
    return Number(this.#section.querySelector("[name=speed]:checked").value);
  }

  #button(name) {
    return this.#section.querySelector(`[data-player=${name}]`);
  }

  // From where it is; from the start, where it is at the end.
  #play() {
    const isAnew = this.#isAtEnd && !this.#isPlaying;
    const after = isAnew ? 0 : this.#stream.lastEventId;
    const text = isAnew ? "" : this.#stream.text;
    this.#load();
    this.#keepHeight();
    this.#isPlaying = true;
    this.#isAtEnd = false;
    this.#stream.play(`${this.#section.dataset.events}?speed=${this.#speed}`, { text, after });
    this.#follow();
    this.#refresh();
    if (!this.#frame && !hasReducedMotion.matches) this.#frame = requestAnimationFrame(this.#beat);
  }

  // What follows the answer stays where it is while the answer is not all there.
  #keepHeight() {
    const answer = this.#stream.querySelector(".answer");
    if (this.#isAtEnd) answer.style.minHeight = `${answer.offsetHeight}px`;
  }

  #releaseHeight() {
    this.#stream.querySelector(".answer").style.minHeight = "";
  }

  #pause() {
    this.#isPlaying = false;
    this.#stream.pause();
    this.#follow();
    this.#refresh();
  }

  #end() {
    const hasFailed = this.#stream.phase === "failed";
    this.#isPlaying = false;
    this.#isAtEnd = !hasFailed;
    if (!hasFailed) {
      this.#show(this.#total);
      this.#releaseHeight();
    }
    this.#refresh();
  }

  #skipWait() {
    if (!this.#texts) return;
    this.#stream.play(`${this.#section.dataset.events}?speed=${this.#speed}`, { text: this.#texts[0], after: 1 });
    this.#follow();
    this.#refresh();
  }

  #onStarted(target) {
    if (target === this.#stream) {
      this.#isPlaying = true;
      this.#follow();
    } else if (this.#isPlaying) {
      this.#pause();
    }
    this.#refresh();
  }

  // One stream at a time: a browser opens six connections to a host.
  #refresh() {
    const isBusyElsewhere = [...document.querySelectorAll(ELSEWHERE)].some(({ isEnded }) => !isEnded);
    this.#button("toggle").disabled = this.#slider.disabled = isBusyElsewhere;
    this.#section.querySelector(".start").hidden = this.#isPlaying;
    this.#section.querySelector(".halt").hidden = !this.#isPlaying;
    const isWaiting = this.#isPlaying && !this.#stream.lastEventId;
    this.#button("skip").hidden = !(isWaiting && this.#moments[0] > LONG_WAIT_MILLISECONDS);
    this.#slider.setAttribute("aria-valuetext", this.#words());
  }

  // --- where it is ---

  #load() {
    this.#record ??= fetch(this.#section.dataset.record)
      .then((response) => (response.ok ? response.json() : Promise.reject(new Error(response.statusText))))
      .then(({ texts }) => {
        let latest = 0;
        this.#moments = texts.map(([moment]) => (latest = Math.max(latest, moment)));
        this.#texts = texts.map(([, text]) => text);
        this.#refresh();
        return true;
      })
      .catch(() => {
        // The connection is lost: whoever wants it next asks again.
        this.#record = null;
        return false;
      });
    return this.#record;
  }

  // The text says where it is; between two texts the clock does.
  #follow() {
    const place = this.#momentOf(this.#stream.lastEventId);
    if (!this.#isAtEnd && place !== null) {
      this.#place = place;
      this.#placedAt = performance.now();
      this.#show(place);
    }
    if (this.#stream.lastEventId <= 1) this.#refresh();
  }

  #momentOf(eventId) {
    if (!eventId) return 0;
    return this.#moments.length ? (this.#moments[eventId - 1] ?? this.#total) : null;
  }

  #beat = () => {
    this.#frame = 0;
    if (!this.#isPlaying) return;
    const next = this.#moments[this.#stream.lastEventId] ?? this.#total;
    const place = this.#place + (performance.now() - this.#placedAt) * this.#speed;
    if (this.#stream.phase !== "reconnecting") this.#show(Math.min(place, next));
    this.#frame = requestAnimationFrame(this.#beat);
  };

  #show(place) {
    this.#slider.value = Math.round((this.#slider.max * place) / Math.max(1, this.#total));
    this.#section.querySelector(".place").textContent = say("{at} of {total} s", {
      at: number(place / 1000, 1),
      total: number(this.#total / 1000, 1),
    });
  }

  #words() {
    const place = (this.#total * this.#slider.value) / this.#slider.max;
    const values = { at: number(place / 1000, 1), total: number(this.#total / 1000, 1) };
    if (!this.#moments.length) return say("{at} s of {total} s", values);
    return say("{at} s of {total} s, token {token}", { ...values, token: this.#countAt(place) });
  }

  #countAt(place) {
    return this.#moments.filter((moment) => moment <= place).length;
  }

  // --- any place of it ---

  async #scrub() {
    if (this.#isPlaying) {
      this.#wasPlaying = true;
      this.#pause();
    }
    const isThere = this.#texts || (await this.#load());
    if (!isThere) {
      this.#show(this.#isAtEnd ? this.#total : this.#place);
      return;
    }
    // One drawing for each frame, of the place where the hand is then.
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#goTo((this.#total * this.#slider.value) / this.#slider.max);
    });
  }

  #goTo(place) {
    const isWhole = this.#slider.value === this.#slider.max;
    const count = isWhole ? this.#texts.length : this.#countAt(place);
    this.#keepHeight();
    this.#isAtEnd = isWhole;
    this.#stream.show(this.#texts.slice(0, count).join(""), count, { isWhole });
    if (isWhole) this.#releaseHeight();
    this.#place = place;
    this.#show(place);
    this.#refresh();
  }

  async #endScrub() {
    if (!this.#wasPlaying) return;
    this.#wasPlaying = false;
    await this.#load();
    if (this.#frame) {
      cancelAnimationFrame(this.#frame);
      this.#frame = 0;
      this.#goTo((this.#total * this.#slider.value) / this.#slider.max);
    }
    if (!this.#isAtEnd) this.#play();
  }

  #onKey(event) {
    if (event.key !== "k" || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.toggle();
  }
}
