// The last frames of the present answer as they came, and its connections. Costs next to nothing while nobody looks:
// what shows them is loaded when the drawer is first opened.

import { say } from "./words.js";

// Of frames and connections together.
const MOST_KEPT = 50;

const encoder = new TextEncoder();

export class WireLog {
  /** What is kept, oldest first: each with a number of its own, 1, 2, 3, … */
  entries = [];
  count = 0;
  frames = 0;
  bytes = 0;
  reconnects = 0;
  stream = null;
  /** Called after each change, once somebody looks. */
  onChange = () => {};

  #requestedAt = 0;
  #lastId = "";
  #isNewSource = false;
  #hasConnected = false;

  constructor() {
    document.addEventListener("submit", ({ target }) => {
      if (target.id === "composer") this.#requestedAt = performance.now();
    }, true);
    document.addEventListener("generation:started", ({ target }) => this.#onStarted(target));
    document.addEventListener("generation:connected", (event) => this.#onConnected(event));
    document.addEventListener("generation:disconnected", (event) => this.#onDisconnected(event));
    document.addEventListener("generation:ended", () => this.onChange());
  }

  /** Adds a line of its own, for what was done to the connection. */
  note(sentence) {
    this.#keep({ sentence });
  }

  #onStarted(stream) {
    this.#isNewSource = true;
    if (stream === this.stream) return;
    if (this.stream) this.stream.onFrame = null;
    this.stream = stream;
    stream.onFrame = (frame) => this.#onFrame(frame);
    this.entries = [];
    this.frames = this.bytes = this.reconnects = 0;
    this.#lastId = "";
    this.#hasConnected = false;
    // A page that was loaded anew has sent no request.
    if (!this.#requestedAt) this.#requestedAt = performance.now();
    this.onChange();
  }

  #onConnected({ target, detail }) {
    if (target !== this.stream) return;
    // An id is no number to be written with commas.
    const after = String(detail.after || "");
    if (this.#hasConnected) this.reconnects += 1;
    if (!after) this.note(say("Connected"));
    // The address of a new EventSource says where it begins; one that comes back by itself sends a header.
    else if (this.#isNewSource) this.note(say("Connected, with after={after}", { after: String(after) }));
    else this.note(say("Connected again, with Last-Event-ID: {after}", { after: String(after) }));
    this.#isNewSource = false;
    this.#hasConnected = true;
  }

  #onDisconnected({ target, detail }) {
    if (target !== this.stream) return;
    this.note(say("Connection lost after event {after}", { after: String(detail.after) }));
  }

  #onFrame({ event, id, data }) {
    this.frames += 1;
    this.bytes += encoder.encode(data).length;
    // The browser repeats the last id on a frame that has none.
    const isNew = event === "message" || id !== this.#lastId;
    this.#lastId = id;
    this.#keep({ id: isNew ? id : "", event, data });
  }

  #keep(entry) {
    this.count += 1;
    this.entries.push({ number: this.count, at: performance.now() - this.#requestedAt, ...entry });
    if (this.entries.length > MOST_KEPT) this.entries.shift();
    this.onChange();
  }
}

/** Keeps the log of the page's answers, and shows it in the drawer when that is opened. */
export function watchWire() {
  const log = new WireLog();
  const element = document.getElementById("wire");
  element.addEventListener(
    "beforetoggle",
    async () => {
      const { WireDrawer } = await import("./wire-drawer.js");
      new WireDrawer(element, log);
    },
    { once: true },
  );
}
