// Posts a form in the background; the server answers with a fragment of its own page.

import { say } from "./words.js";

/** The answer's fragment, or `problem`: why there is none, in a sentence. */
export async function postForm(url, fields) {
  let response;
  let text;
  try {
    response = await fetch(url, { method: "POST", body: fields, headers: { "HX-Request": "true" } });
    text = await response.text();
  } catch {
    return { problem: say("The server could not be reached.") };
  }
  const { body } = new DOMParser().parseFromString(text, "text/html");
  if (!response.ok) return { problem: refusalIn(body) || say("The server answered with status {status}.", response) };
  const fragment = document.createDocumentFragment();
  fragment.append(...body.childNodes);
  return { fragment };
}

// A proxy's error page has no such element, and none of its text belongs here.
const refusalIn = (body) => body.querySelector(".problem > span")?.textContent.replace(/\s+/g, " ").trim();
