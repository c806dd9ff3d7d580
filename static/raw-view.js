// Shows an answer as the text that the server sent, or rendered again.

import { say } from "./words.js";

/** Changes between the two; `button` says which. */
export function showRaw(stream, button) {
  const answer = stream.querySelector(".answer");
  const isRaw = button.getAttribute("aria-pressed") !== "true";
  let raw = stream.querySelector(".raw");
  if (!raw) {
    raw = document.createElement("div");
    raw.className = "raw";
    answer.after(raw);
  }
  raw.textContent = stream.text;
  raw.hidden = !isRaw;
  answer.hidden = isRaw;
  button.setAttribute("aria-pressed", String(isRaw));
  button.title = isRaw ? say("Show rendered") : say("Show as raw text");
}
