// The dialog that makes a shared link of an answer. The server makes it from its own record of the run.

import { copyText } from "./clipboard.js";
import { postForm } from "./fragments.js";
import { say, sayCount } from "./words.js";

const dialog = document.getElementById("share-dialog");
const form = document.getElementById("share-form");
const result = document.getElementById("shared-link");
const problem = document.getElementById("share-problem");
const part = (name) => dialog.querySelector(`[data-part=${name}]`);

/** Offers to share the turn's answer. */
export function offerLink(turn) {
  form.action = `/generations/${encodeURIComponent(turn.dataset.generation)}/share`;
  form.hidden = false;
  result.replaceChildren();
  problem.hidden = true;
  describe(turn);
  if (!dialog.open) dialog.showModal();
}

// The server knows what was sent; the page says it beforehand.
function describe(turn) {
  const request = JSON.parse(turn.dataset.request || "{}");
  const earlier = [...turn.parentElement.children].indexOf(turn);
  part("system").hidden = !request.system?.trim();
  part("turns").hidden = !earlier;
  part("turns").textContent = sayCount("The turn before it", "The {count} turns before it", earlier);
}

async function makeLink(event) {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  const address = form.action;
  const answer = await postForm(address, new FormData(form));
  button.disabled = false;
  // The dialog is about another answer by now; the link stands among one's own.
  if (form.action !== address) return;
  problem.hidden = !answer.problem;
  problem.querySelector("span").textContent = answer.problem ?? "";
  if (answer.fragment) showLink(answer.fragment);
}

function showLink(fragment) {
  form.hidden = true;
  result.replaceChildren(fragment);
  for (const button of result.querySelectorAll("[data-copies]")) {
    const field = document.getElementById(button.dataset.copies);
    field.addEventListener("focus", () => field.select());
    button.addEventListener("click", () => copyText(field.value, button));
  }
  const url = document.getElementById("shared-url");
  const send = document.getElementById("send-link");
  send.hidden = !navigator.share;
  // Who closes the sheet of their phone has shared nothing, and broken nothing.
  send.addEventListener("click", () => navigator.share({ url: url.value }).catch(() => {}));
  dialog.querySelector("[role=status]").textContent = say("The link is made.");
  result.querySelector("[data-copies]").focus();
}

form.addEventListener("submit", makeLink);
