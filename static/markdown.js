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

// A list or table with more items or rows than this settles the earlier ones, but
// for the last two: the very last may turn out to be none at all.
const MOST_OPEN_ITEMS = 4;
// A paragraph with more characters than this settles its beginning, up to about
// this many before its end, or else earlier.
const MOST_OPEN_CHARACTERS = 1500;
const OPEN_CHARACTERS = [400, 700, 1000];

// Where a paragraph can be cut: no block begins with a letter.
const CUT = / (?=\p{L})|(?<=[。！？])(?=\p{L})/gu;
// What later text could make the beginning of something.
const OPENER = /[*`[\]~]|(?<![\p{L}\p{N}])_|_(?![\p{L}\p{N}])/u;

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

const isClosed = (tokens) =>
  tokens.every(({ type, raw, tokens: inner }) => (inner ? isClosed(inner) : type !== "text" || !OPENER.test(raw)));

// The beginnings of blocks that no further text can change. Each with the source it
// takes away, what it leaves in its place, and what stands between it and the rest.
const BEGINNINGS = {
  list(list) {
    if (list.items.length <= MOST_OPEN_ITEMS) return null;
    const items = list.items.slice(0, -2);
    return { token: { ...list, items }, raw: items.map((item) => item.raw).join(""), left: "", glue: "" };
  },

  table(table) {
    const lines = table.raw.trimEnd().split("\n");
    // A row is a line; should marked ever see that otherwise, the table stays whole.
    if (table.rows.length <= MOST_OPEN_ITEMS || lines.length !== table.rows.length + 2) return null;
    const raw = lines.slice(0, -2).map((line) => `${line}\n`).join("");
    return {
      token: { ...table, rows: table.rows.slice(0, -2) }, raw, left: `${lines[0]}\n${lines[1]}\n`, glue: "",
    };
  },

  paragraph({ raw }) {
    if (raw.length <= MOST_OPEN_CHARACTERS) return null;
    for (const open of OPEN_CHARACTERS) {
      const cut = [...raw.slice(0, raw.length - open).matchAll(CUT)].at(-1);
      if (!cut) return null;
      const [token, ...others] = markdown.lexer(raw.slice(0, cut.index));
      if (others.length || token?.type !== "paragraph" || !isClosed(token.tokens)) continue;
      return { token, raw: raw.slice(0, cut.index) + cut[0], left: "", glue: cut[0] };
    }
    return null;
  },
};

// Where the items of a block are.
const inside = (block) => block.tBodies?.[0] ?? block;

const figuresIn = (nodes) => nodes.flatMap((node) => [...(node.querySelectorAll?.("figure") ?? [])]);

export class MarkdownView {
  #tail = document.createElement("div");
  // What is not settled yet, with line ends as \n.
  #source = "";
  #endedInCarriageReturn = false;
  // The block before the tail whose beginning is settled, and those of its nodes that are not.
  #open = null;
  #unsettled = [];
  // Whether what is drawn is the source as it is, not as remend has completed it.
  #isExact = true;

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
    const [block, ...rest] = tokens.filter(({ type }) => type !== "space");
    if (block && !rest.length && this.#settleBeginning(block)) tokens = markdown.lexer(this.#source);
    this.#draw(tokens);
  }

  /** Draws the last block as it is, now that nothing follows. */
  finish() {
    if (!this.#isExact) this.#settle(markdown.lexer(this.#source));
    for (const figure of figuresIn([...this.#unsettled, this.#tail])) colourCode(figure);
    this.#unsettled = [];
    this.#close();
    this.#source = "";
    this.#tail.replaceWith(...this.#tail.childNodes);
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

  // A block can go on for thousands of tokens: its parts settle as blocks do.
  #settleBeginning(block) {
    const beginning = BEGINNINGS[block.type]?.(block);
    if (!beginning || !this.#source.startsWith(beginning.raw)) return false;
    const fragment = elementsOf(markdown.parser([beginning.token]));
    for (const figure of figuresIn([fragment])) colourCode(figure);
    this.#forgetUnsettled();
    if (!this.#continue(fragment).length) {
      this.#close();
      this.#open = fragment.firstElementChild;
      this.#open.className = "open";
      this.#tail.before(fragment);
    }
    if (beginning.glue) this.#open.append(beginning.glue);
    this.#source = beginning.left + this.#source.slice(beginning.raw.length);
    return true;
  }

  #settle(tokens) {
    this.#forgetUnsettled();
    const settled = document.createDocumentFragment();
    for (const token of tokens) {
      if (token.type === "space") continue;
      const fragment = document.createDocumentFragment();
      fragment.append(isFence(token) ? codeFigure(token.lang, token.text) : elementsOf(markdown.parser([token])));
      for (const figure of figuresIn([fragment])) colourCode(figure);
      this.#continue(fragment);
      this.#close();
      settled.append(fragment);
    }
    this.#tail.replaceChildren();
    this.#tail.before(settled);
    this.#isExact = true;
  }

  // Moves the first block's nodes into the open one, where it goes on with it; those nodes.
  #continue(fragment) {
    const first = fragment.firstElementChild;
    if (!this.#open || first?.nodeName !== this.#open.nodeName) return [];
    const nodes = [...inside(first).childNodes];
    inside(this.#open).append(...nodes);
    first.remove();
    return nodes;
  }

  #forgetUnsettled() {
    for (const node of this.#unsettled) node.remove();
    this.#unsettled = [];
  }

  #close() {
    this.#open?.removeAttribute("class");
    this.#open = null;
  }

  #draw(tokens) {
    const [token, ...rest] = tokens.filter(({ type }) => type !== "space");
    this.#forgetUnsettled();
    if (isFence(token) && !rest.length) {
      this.#isExact = true;
      this.#drawFence(token);
      return;
    }
    const healed = remend(this.#source, { linkMode: "text-only", htmlTags: false });
    this.#isExact = healed === this.#source;
    const fragment = elementsOf(this.#isExact ? markdown.parser(tokens) : markdown.parse(healed));
    this.#unsettled = this.#continue(fragment);
    this.#tail.replaceChildren(fragment);
  }

  // An open fence only ever gets longer: no parsing, no sanitising, one text node.
  #drawFence(token) {
    const code = this.#tail.querySelector(":scope > figure:only-child code");
    if (code && code.dataset.info === (token.lang ?? "")) code.textContent = token.text;
    else this.#tail.replaceChildren(codeFigure(token.lang, token.text));
  }
}
