// The dialog with a request as code: that of a turn, or what Run would send now. The server writes the code.

import { promptOf } from "./conversation.js";
import { postForm } from "./fragments.js";
import { watchSnippets } from "./snippets.js";

const STYLE = new URL("snippets.css", import.meta.url).href;

const form = document.getElementById("composer");
const dialog = document.getElementById("code-dialog");
const code = document.getElementById("code-of-request");
let asked = 0;
const about = (what) => dialog.querySelector(`[data-about=${what}]`);

/** Shows the code of the turn's request; without a turn, of the composer's. */
export async function showCode(turn) {
  const hasPrompt = form.elements.prompt.value.trim();
  // With nothing typed, the last request is what somebody can mean.
  const shown = turn ?? (hasPrompt ? null : document.querySelector("#turns > .turn:last-child"));
  about("turn").hidden = !shown;
  about("composer").hidden = Boolean(shown) || !hasPrompt;
  about("example").hidden = Boolean(shown || hasPrompt);
  code.replaceChildren();
  code.setAttribute("aria-busy", "true");
  if (!dialog.open) dialog.showModal();

  const number = (asked += 1);
  const [{ fragment, problem }] = await Promise.all([postForm("/code", requestOf(shown)), loadStyle()]);
  // Another request is shown by now.
  if (number !== asked) return;
  code.setAttribute("aria-busy", "false");
  about("problem").hidden = !problem;
  about("problem").querySelector("span").textContent = problem ?? "";
  if (!fragment) return;
  code.replaceChildren(fragment);
  watchSnippets(code);
}

function requestOf(turn) {
  const fields = new FormData(form);
  if (!turn) {
    if (!fields.get("prompt").trim()) fields.set("prompt", dialog.dataset.example);
    return fields;
  }
  for (const [name, value] of Object.entries(JSON.parse(turn.dataset.request || "{}"))) fields.set(name, value);
  fields.set("prompt", promptOf(turn));
  fields.delete("history");
  for (const message of historyBefore(turn)) fields.append("history", message);
  return fields;
}

function historyBefore(turn) {
  const messages = [...document.querySelectorAll("#turns [name=history]:enabled")];
  const isBefore = (input) => turn.compareDocumentPosition(input) === Node.DOCUMENT_POSITION_PRECEDING;
  return messages.filter(isBefore).map((input) => input.value);
}

function loadStyle() {
  if ([...document.styleSheets].some(({ href }) => href === STYLE)) return null;
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: STYLE });
  return new Promise((resolve) => {
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
}
