// <token-stream src abort after>: one answer, from its first event to its end.
// Follows an event stream around a plain EventSource, resumes it without a gap or
// a repeat, and names the phase it is in. With `after`, the text up to that event
// stands in it already. With `recorded` it can be played again from any event, and
// its figures are those of the recording. Knows nothing of forms and models.

import { AnswerView } from "./answer-view.js";
import { Figures } from "./figures.js";
import { FrameWriter } from "./frame-writer.js";
import { number, say, sayCount } from "./words.js";

// Waits of more than this show their seconds: slow and stuck must not look alike.
const SILENT_WAIT_SECONDS = 1;
const CLOCK_MILLISECONDS = 200;
// After Stop the server ends the stream itself; past this the page stops listening.
const ABORT_PATIENCE_MILLISECONDS = 4000;

const ENDED = ["done", "stopped", "failed"];

export class TokenStream extends HTMLElement {
  /** All text so far, as the server sent it. */
  text = "";
  phase = "connecting";
  /** Called with each frame as it came: { event, id, data }. No event of the page: there are hundreds in a second. */
  onFrame = null;

  #source = null;
  #lastEventId = 0;
  #view = null;
  #figures = null;
  #writer = new FrameWriter((text) => this.#write(text));
  #clock = 0;
  #phaseSince = 0;
  #phaseTitle = "";
  #failure = null;
  #failureCode = "";
  #isAborting = false;
  #hasFollowedGap = false;

  connectedCallback() {
    addEventListener("pagehide", this.#close);
    addEventListener("pageshow", this.#restore);
    document.addEventListener("visibilitychange", this.#onVisibility);
    if (!this.#view) this.#build();
    if (this.hasAttribute("src") && !this.isEnded) this.#open();
  }

  disconnectedCallback() {
    removeEventListener("pagehide", this.#close);
    removeEventListener("pageshow", this.#restore);
    document.removeEventListener("visibilitychange", this.#onVisibility);
    this.#close();
  }

  get isEnded() {
    return ENDED.includes(this.phase);
  }

  /** Whether its figures stand on the page already. */
  get isRecorded() {
    return this.hasAttribute("recorded");
  }

  /** Prompt and answer together, as the server counted them; 0 if it did not say. */
  get totalTokens() {
    return this.#figures.totalTokens;
  }

  /** The id of the last event whose text is in `text`. */
  get lastEventId() {
    return this.#lastEventId;
  }

  /** What its figures have to know to go on from here, as texts. */
  get counts() {
    return this.#figures.counts;
  }

  /** The server's own figures, once it has said them. */
  get usage() {
    return this.#figures.usage;
  }

  /** The code of what went wrong, where the server has said it. */
  get failureCode() {
    return this.#failureCode;
  }

  /** Asks the server to end this generation; the stream then ends by itself. */
  async abort() {
    if (this.isEnded || this.#isAborting) return;
    this.#isAborting = true;
    this.#enter("stopping", say("Stopping"));
    try {
      const token = document.querySelector("meta[name=csrf-token]").content;
      const response = await fetch(this.getAttribute("abort"), {
        method: "POST",
        headers: { "X-CSRFToken": token },
      });
      if (!response.ok) throw new Error(response.statusText);
      await new Promise((resolve) => setTimeout(resolve, ABORT_PATIENCE_MILLISECONDS));
    } catch {
      // Listening no longer is what the page can still do: the server notices.
    }
    if (!this.isEnded) this.#end("stopped", say("Stopped"));
  }

  /** Shows `text`, whose last event is `after`: a place of a recorded answer, or all of it. */
  show(text, after, { isWhole = false } = {}) {
    this.pause();
    this.#set(text, after);
    if (!isWhole) return;
    this.#view.finish();
    this.#enter("done", say("Done"));
  }

  /** Goes on from there with the recording at `src`. */
  play(src, { text, after }) {
    this.#set(text, after);
    this.setAttribute("src", src);
    this.#enter("waiting", say("Replaying"));
    this.#open();
  }

  /** Stops listening; `play` goes on. */
  pause() {
    this.#appendWaiting();
    this.#close();
    this.removeAttribute("src");
    this.#enter("paused", say("Paused"));
  }

  // Anew where it is other text than what stands there, or may be its whole.
  #set(text, after) {
    // Whatever waits is in `text`, or no longer wanted.
    this.#writer.take();
    this.#failure = null;
    this.#hasFollowedGap = false;
    this.#lastEventId = after;
    for (const name of ["problem", "outcome"]) this.querySelector(`.${name}`).hidden = true;
    if (text === this.text && this.phase === "paused") return;
    this.text = text;
    this.#view = new AnswerView(this.querySelector(".answer"));
    this.#view.append(text);
  }

  #build() {
    const answer = this.querySelector(".answer");
    const given = answer.textContent;
    this.#view = new AnswerView(answer);
    this.#figures = new Figures(this.querySelector(".figures"));
    this.querySelector(".reconnect").addEventListener("click", () => this.#reconnect());
    this.#lastEventId = Number(this.getAttribute("after"));
    this.text = given;
    this.#view.append(given);
    if (this.hasAttribute("src")) return;
    this.phase = this.querySelector(".phase").dataset.phase;
    this.#view.finish();
    this.querySelector(".actions").hidden = !given;
  }

  #open() {
    this.#close();
    if (!this.#phaseSince) this.#enter("connecting", say("Connecting"));
    this.#clock = setInterval(() => this.#beat(), CLOCK_MILLISECONDS);
    const url = new URL(this.getAttribute("src"), document.baseURI);
    if (this.#lastEventId) url.searchParams.set("after", this.#lastEventId);

    const source = (this.#source = new EventSource(url));
    source.onmessage = (event) => {
      this.#showFrame(event);
      if (!this.#isNext(event)) return;
      if (event.data === "[DONE]") {
        source.close();
        this.#finish();
        return;
      }
      this.#append(JSON.parse(event.data).response);
    };
    for (const name of ["status", "usage", "error", "gone"]) source.addEventListener(name, this.#showFrame);
    source.addEventListener("status", (event) => this.#onStatus(JSON.parse(event.data)));
    source.addEventListener("usage", (event) => this.#figures.finish(JSON.parse(event.data)));
    source.addEventListener("gone", () => {
      this.#fail(say("The server no longer has this generation. The text so far is kept."));
      this.#end("failed", say("Failed"));
    });
    // Two things arrive under this name: the server's own event, which has data,
    // and the browser's notice that the connection is lost, which has none.
    source.addEventListener("error", (event) => {
      if (event.data === undefined) {
        this.#onConnectionLost(source);
        return;
      }
      const { code, message } = JSON.parse(event.data);
      this.#failureCode = code;
      this.#fail(message);
    });
    source.addEventListener("open", () => this.#tell("generation:connected", { after: this.#lastEventId }));
    this.#tell("generation:started");
  }

  #close = () => {
    this.#source?.close();
    this.#source = null;
    clearInterval(this.#clock);
  };

  #restore = (event) => {
    if (event.persisted && this.hasAttribute("src") && !this.isEnded) this.#open();
  };

  // Ids count 1, 2, 3, … so a repeat is dropped and a gap is asked for again, once.
  #isNext(event) {
    const eventId = Number(event.lastEventId);
    if (!eventId) return true;
    if (eventId <= this.#lastEventId) return false;
    if (eventId > this.#lastEventId + 1 && !this.#hasFollowedGap) {
      this.#hasFollowedGap = true;
      this.#open();
      return false;
    }
    this.#lastEventId = eventId;
    return true;
  }

  #onStatus(status) {
    this.#figures.engine(status);
    if (this.#isAborting || this.text) return;
    const progress = this.querySelector("progress");
    progress.hidden = status.phase !== "loading";
    if (status.phase === "queued") {
      this.#enter("queued", status.place ? say("Queued, place {place}", { place: status.place }) : say("Queued"));
    } else if (status.phase === "loading") {
      const percent = (progress.value = status.percent ?? 0);
      this.#enter("loading", say("Loading model {percent} %", { percent }));
      this.#tell("generation:loading");
    } else if (status.phase === "reading") {
      const tokens = status.prompt_tokens;
      const title = tokens
        ? sayCount("Reading prompt, {count} token", "Reading prompt, {count} tokens", tokens)
        : say("Reading prompt");
      this.#enter("reading", title);
    }
  }

  #onConnectionLost(source) {
    if (source !== this.#source) return;
    this.#tell("generation:disconnected", { after: this.#lastEventId });
    if (this.#failure) {
      this.#end("failed", say("Failed"));
    } else if (source.readyState === EventSource.CONNECTING) {
      if (!this.#isAborting) this.#enter("reconnecting", say("Reconnecting…"));
    } else if (this.#isAborting) {
      this.#end("stopped", say("Stopped"));
    } else {
      this.#fail(say("The server closed the connection. The text so far is kept."), { canReconnect: true });
      this.#end("failed", say("Failed"));
    }
  }

  #append(text) {
    if (this.phase !== "streaming" && !this.#isAborting) {
      this.querySelector("progress").hidden = true;
      this.#enter("streaming", say("Streaming"));
    }
    this.text += text;
    if (!this.isRecorded) this.#figures.count();
    this.#writer.add(text);
  }

  #onVisibility = () => this.#writer.reschedule();

  #write(text) {
    this.#view.append(text);
    this.#tell("generation:written");
  }

  #appendWaiting() {
    const text = this.#writer.take();
    if (text) this.#view.append(text);
  }

  #finish() {
    if (this.#failure) this.#end("failed", say("Failed"));
    else if (this.#figures.finishReason === "abort") this.#end("stopped", say("Stopped"));
    else this.#end("done", say("Done"));
  }

  #fail(message, { canReconnect = false } = {}) {
    this.#failure = message;
    const problem = this.querySelector(".problem");
    problem.querySelector("span").textContent = message;
    problem.querySelector(".reconnect").hidden = !canReconnect;
    problem.hidden = false;
  }

  #end(phase, title) {
    this.#close();
    this.#appendWaiting();
    this.#enter(phase, title);
    this.querySelector("progress").hidden = true;
    this.querySelector(".actions").hidden = false;
    if (!this.isRecorded) this.#figures.draw();
    const isWhole = phase !== "failed";
    if (isWhole) this.#view.finish();
    if (isWhole) this.#sayOutcome();
    this.#tell("generation:written");
    this.#tell("generation:ended");
  }

  #sayOutcome() {
    const outcome = this.querySelector(".outcome");
    if (this.#figures.finishReason === "length") {
      const limit = sayCount(
        "The limit of {count} new token was reached.",
        "The limit of {count} new tokens was reached.",
        this.#figures.completionTokens,
      );
      // Where the page has something to say to it.
      outcome.querySelector("span").textContent = `${limit} ${this.getAttribute("advice") ?? ""}`.trimEnd();
    } else if (!this.text && this.phase === "done") {
      outcome.querySelector("span").textContent = say("The model ended its answer without a word.");
    } else return;
    outcome.hidden = false;
  }

  #reconnect() {
    if (!this.dispatchEvent(new CustomEvent("generation:reconnect", { bubbles: true, cancelable: true }))) return;
    this.#failure = null;
    this.querySelector(".problem").hidden = true;
    this.querySelector(".actions").hidden = true;
    this.#enter("reconnecting", say("Reconnecting…"));
    this.#open();
  }

  #enter(phase, title) {
    if (phase !== this.phase || !this.#phaseSince) this.#phaseSince = performance.now();
    this.phase = phase;
    this.#phaseTitle = title;
    const element = this.querySelector(".phase");
    element.dataset.phase = phase;
    element.querySelector("span").textContent = title;
    this.querySelector(".answer").setAttribute("aria-busy", String(!this.isEnded && phase !== "paused"));
  }

  #beat() {
    if (this.phase === "streaming") {
      if (!this.isRecorded) this.#figures.draw();
      return;
    }
    const seconds = (performance.now() - this.#phaseSince) / 1000;
    if (seconds < SILENT_WAIT_SECONDS) return;
    this.querySelector(".phase span").textContent = `${this.#phaseTitle} · ${number(seconds)} s`;
  }

  #showFrame = ({ type, lastEventId, data }) => {
    if (data !== undefined) this.onFrame?.({ event: type, id: lastEventId, data });
  };

  #tell(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }
}

customElements.define("token-stream", TokenStream);
