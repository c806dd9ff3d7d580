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
    },
    () => {
      // The connection is lost: the next answer tries again.
      loading = null;
    },
  );
  return loading;
}

export class AnswerView {
  #container;
  #view = null;
  // Until there is a view: all text so far, in one text node.
  #plain = null;
  #isFinished = false;

  constructor(container) {
    this.#container = container;
    if (MarkdownView) {
      this.#view = new MarkdownView(container);
      return;
    }
    const element = document.createElement("div");
    element.className = "plain";
    this.#plain = element.appendChild(document.createTextNode(""));
    container.replaceChildren(element);
    // Each in a task of its own: a page that was restored has many.
    loadMarkdown().then(() => setTimeout(() => this.#render()));
  }

  append(text) {
    if (this.#view) this.#view.append(text);
    else this.#plain.appendData(text);
  }

  /** Nothing follows. */
  finish() {
    this.#isFinished = true;
    this.#view?.finish();
  }

  #render() {
    if (!MarkdownView) return;
    this.#view = new MarkdownView(this.#container);
    this.#view.append(this.#plain.data);
    this.#plain = null;
    if (this.#isFinished) this.#view.finish();
    this.#container.dispatchEvent(new CustomEvent("generation:written", { bubbles: true }));
  }
}
