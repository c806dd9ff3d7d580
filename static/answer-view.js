// The text of an answer on the page: plain until the Markdown view has been loaded,
// rendered from then on. So a page that shows no answer loads no Markdown at all,
// and one that cannot load it still shows every word.

let MarkdownView = null;
let loading = null;

/** Loads what renders Markdown, so that it is there when the answer begins. */
export function loadMarkdown() {
  loading ??= import("./markdown.js").then(
    (module) => {
      ({ MarkdownView } = module);
      setTimeout(warmUp);
    },
    () => {
      // The connection is lost: the next answer tries again.
      loading = null;
    },
  );
  return loading;
}

// What runs for the first time is compiled first: better now than between the first tokens.
function warmUp() {
  const view = new MarkdownView(document.createElement("div"));
  view.append("A **word** and `code`, [a link](https://example.org).\n\n- one\n- two\n\n");
  view.finish();
}

export class AnswerView {
  #container;
  #text = "";
  #view = null;
  // Where there is no view: all text so far, in one text node.
  #plain = null;
  #isFinished = false;

  constructor(container) {
    this.#container = container;
    if (MarkdownView) {
      this.#view = new MarkdownView(container);
      return;
    }
    this.#showPlain();
    // Each in a task of its own: a page that was restored has many.
    loadMarkdown().then(() => setTimeout(() => this.#render()));
  }

  append(text) {
    this.#text += text;
    if (this.#view) this.#draw(() => this.#view.append(text));
    else this.#plain.appendData(text);
  }

  /** Nothing follows. */
  finish() {
    this.#isFinished = true;
    if (this.#view) this.#draw(() => this.#view.finish());
  }

  #render() {
    // Without it, or where another answer stands there by now.
    if (!MarkdownView || !this.#container.contains(this.#plain)) return;
    this.#view = new MarkdownView(this.#container);
    this.#draw(() => this.#view.append(this.#text));
    if (this.#isFinished) this.finish();
    this.#container.dispatchEvent(new CustomEvent("generation:written", { bubbles: true }));
  }

  // Thousands of quotes in each other are more than the parser's stack holds: such
  // an answer stays plain, and the stream goes on.
  #draw(step) {
    try {
      step();
    } catch {
      this.#view = null;
      this.#showPlain();
    }
  }

  #showPlain() {
    const element = document.createElement("div");
    element.className = "plain";
    this.#plain = element.appendChild(document.createTextNode(this.#text));
    this.#container.replaceChildren(element);
  }
}
