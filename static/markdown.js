// Turns the text of an answer into elements while it grows. Knows nothing of
// where the text comes from. Model text is hostile: raw HTML in it is shown as
// text, and what the Markdown parser makes is sanitised before it is inserted.

import "./vendor/dompurify/purify.min.js";
import { Marked } from "./vendor/marked/marked.esm.js";
import remend from "./vendor/remend/index.js";
import { codeFigure, colourCode } from "./code-figure.js";

const SANITISER_POLICY = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p",
    "pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "class", "href", "start", "title"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^https?:\/\//i,
  // Without this their values, too, would have to be addresses.
  ADD_URI_SAFE_ATTR: ["align", "start"],
  RETURN_DOM_FRAGMENT: true,
};

// A list with more items than this settles the earlier ones.
const MOST_OPEN_ITEMS = 12;

const LANGUAGE_CLASS = /^language-[\w+#.-]+$/;

const escapeHtml = (text) =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const sanitiser = globalThis.DOMPurify(window);
// Set once: given anew with each call, it would be read anew.
sanitiser.setConfig(SANITISER_POLICY);
sanitiser.addHook("uponSanitizeAttribute", (element, attribute) => {
  if (attribute.attrName === "class") {
    attribute.keepAttr = element.nodeName === "CODE" && LANGUAGE_CLASS.test(attribute.attrValue);
  }
});
sanitiser.addHook("afterSanitizeAttributes", (element) => {
  if (element.nodeName === "A" && element.hasAttribute("href")) {
    element.setAttribute("rel", "nofollow ugc noopener noreferrer");
    element.setAttribute("target", "_blank");
  }
});

const markdown = new Marked({
  gfm: true,
  breaks: true,
  // Without these two tokenizers a tag is ordinary text, and is escaped as such.
  tokenizer: { html: () => undefined, tag: () => undefined },
  renderer: {
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    // The page's own headings are h1 and h2.
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
  },
});

function elementsOf(html) {
  const fragment = sanitiser.sanitize(html);
  for (const pre of fragment.querySelectorAll("pre")) {
    const language = pre.querySelector("code")?.className.replace("language-", "") ?? "";
    pre.replaceWith(codeFigure(language, pre.textContent));
  }
  return fragment;
}

const isFence = (token) => token?.type === "code";

// How many of the leading tokens no further text can change. The last block can
// still grow, and a paragraph without a blank line after it can become a heading.
function settledCount(tokens) {
  let last = tokens.length - 1;
  while (last >= 0 && tokens[last].type === "space") last -= 1;
  while (last > 0 && ["paragraph", "text"].includes(tokens[last - 1].type)) last -= 1;
  return Math.max(last, 0);
}

export class MarkdownView {
  #tail = document.createElement("div");
  // What is not settled yet, with line ends as \n.
  #source = "";
  #endedInCarriageReturn = false;
  // The settled part of a list that goes on in the tail.
  #openList = null;

  constructor(container) {
    this.#tail.className = "tail";
    container.replaceChildren(this.#tail);
  }

  /** Adds text and redraws only the block it can still change. */
  append(text) {
    if (this.#endedInCarriageReturn && text.startsWith("\n")) text = text.slice(1);
    this.#endedInCarriageReturn = text.endsWith("\r");
    this.#source += text.replace(/\r\n?/g, "\n");

    let tokens = markdown.lexer(this.#source);
    const settled = tokens.slice(0, settledCount(tokens));
    if (settled.length && this.#cutOff(settled)) tokens = tokens.slice(settled.length);
    const [list, ...rest] = tokens.filter(({ type }) => type !== "space");
    if (list?.type === "list" && !rest.length && list.items.length > MOST_OPEN_ITEMS) {
      tokens = this.#settleItems(list);
    }
    this.#draw(tokens);
  }

  /** Draws the last block as it is, now that nothing follows. */
  finish() {
    this.#settle(markdown.lexer(this.#source));
    this.#source = "";
    this.#tail.remove();
  }

  // Settles the first tokens of what is left. Should marked have rewritten what it
  // read, nothing is cut off, and all is drawn again next time.
  #cutOff(tokens) {
    const raw = tokens.map((token) => token.raw).join("");
    if (!this.#source.startsWith(raw)) return false;
    this.#settle(tokens);
    this.#source = this.#source.slice(raw.length);
    return true;
  }

  // A list can go on for thousands of tokens: its items settle as blocks do. The
  // last two stay open, for the very last may turn out to be no item at all.
  #settleItems(list) {
    const items = list.items.slice(0, -2);
    const raw = items.map((item) => item.raw).join("");
    if (!this.#cutOff([{ ...list, items, raw }])) return [list];
    this.#openList = this.#tail.previousElementSibling;
    this.#openList.className = "continued";
    return markdown.lexer(this.#source);
  }

  #settle(tokens) {
    const fragment = document.createDocumentFragment();
    for (const token of tokens) {
      if (this.#openList && token.type !== "space") {
        const list = this.#openList;
        this.#openList = null;
        list.removeAttribute("class");
        const [more] = token.type === "list" ? elementsOf(markdown.parser([token])).children : [];
        if (more?.nodeName === list.nodeName) {
          list.append(...more.children);
          continue;
        }
      }
      fragment.append(
        isFence(token) ? codeFigure(token.lang, token.text) : elementsOf(markdown.parser([token])),
      );
    }
    for (const figure of fragment.querySelectorAll("figure")) colourCode(figure);
    this.#tail.replaceChildren();
    this.#tail.before(fragment);
  }

  #draw(tokens) {
    const [token, ...rest] = tokens.filter(({ type }) => type !== "space");
    if (isFence(token) && !rest.length) {
      this.#drawFence(token);
      return;
    }
    const healed = remend(this.#source, { linkMode: "text-only", htmlTags: false });
    this.#tail.replaceChildren(elementsOf(markdown.parse(healed)));
  }

  // An open fence only ever gets longer: no parsing, no sanitising, one text node.
  #drawFence(token) {
    const code = this.#tail.querySelector(":scope > figure:only-child code");
    if (code && code.dataset.info === (token.lang ?? "")) code.textContent = token.text;
    else this.#tail.replaceChildren(codeFigure(token.lang, token.text));
  }
}
