// A block of code with its language, a Copy button and, once it is complete,
// colours. Code is only ever inserted as text.

import { copyText } from "./clipboard.js";
import { say } from "./words.js";

// Fence word → grammar file.
const GRAMMARS = {
  python: "python", py: "python",
  javascript: "javascript", js: "javascript", jsx: "javascript", mjs: "javascript",
  typescript: "typescript", ts: "typescript", tsx: "typescript",
  bash: "bash", sh: "bash", shell: "bash", zsh: "bash", console: "bash",
  json: "json", jsonc: "json",
  html: "xml", xml: "xml", svg: "xml",
  css: "css", sql: "sql",
};

// Longer code stays plain: colouring it would hold up the page.
const MOST_COLOURED_CHARACTERS = 20_000;

// All that highlight.js writes: spans with a class, and text with five entities.
const HIGHLIGHTED = /<span class="([\w -]+)">|(<\/span>)|([^<]+)/g;
const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'" };

/** A figure that shows `text` as code. `info` is what stood after the fence. */
export function codeFigure(info, text) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const copy = document.createElement("button");
  const pre = document.createElement("pre");
  const code = document.createElement("code");
  const language = (info ?? "").match(/^[\w+#.-]{1,20}/)?.[0] ?? "";

  caption.className = "muted";
  caption.textContent = language || say("code");
  copy.type = "button";
  copy.append(Object.assign(document.createElement("span"), { textContent: say("Copy") }));
  copy.addEventListener("click", () => copyText(code.textContent, copy));
  caption.append(copy);
  code.textContent = text.replace(/\n$/, "");
  code.dataset.info = info ?? "";
  code.dataset.language = language.toLowerCase();
  pre.tabIndex = 0;
  pre.append(code);
  figure.append(caption, pre);
  return figure;
}

/** Colours the code of a figure, where its language is one of the known ones. */
export async function colourCode(figure) {
  const code = figure.querySelector("code");
  const grammar = Object.hasOwn(GRAMMARS, code.dataset.language) && GRAMMARS[code.dataset.language];
  const text = code.textContent;
  if (!grammar || text.length > MOST_COLOURED_CHARACTERS) return;

  const [{ default: highlighter }, { default: definition }] = await Promise.all([
    import("./vendor/highlight/core.min.js"),
    import(`./vendor/highlight/languages/${grammar}.min.js`),
  ]);
  // Each step in a task of its own: together they would hold the page up on a slow machine.
  await nextTask();
  if (!highlighter.getLanguage(grammar)) {
    highlighter.registerLanguage(grammar, definition);
    // The first use compiles the grammar.
    highlighter.highlight("", { language: grammar });
    await nextTask();
  }
  const { value } = highlighter.highlight(text, { language: grammar, ignoreIllegals: true });
  await nextTask();
  const spans = spansOf(value);
  await nextTask();
  code.replaceChildren(spans);
}

const nextTask = () => new Promise((resolve) => setTimeout(resolve));

// Builds the elements itself: nothing in the code can become another one.
function spansOf(highlighted) {
  const fragment = document.createDocumentFragment();
  let parent = fragment;
  for (const [, className, end, text] of highlighted.matchAll(HIGHLIGHTED)) {
    if (text) {
      parent.append(text.replace(/&(?:amp|lt|gt|quot|#x27);/g, (entity) => ENTITIES[entity]));
    } else if (end) {
      parent = parent.parentNode ?? fragment;
    } else {
      const span = document.createElement("span");
      span.className = className;
      parent.append(span);
      parent = span;
    }
  }
  return fragment;
}
