// The turns on the page and what they send along: a finished turn becomes hidden
// fields of the composer, so that the next turn carries the conversation.

import { copyText } from "./clipboard.js";

const turns = () => document.getElementById("turns");

export const promptOf = (turn) => turn.querySelector(".prompt").textContent;

/** The answer that is being streamed, if any: there is one at most. */
export const liveStream = () =>
  [...document.querySelectorAll("token-stream[src]")].find((stream) => !stream.isEnded);

/** Adds what was asked and answered to the composer's fields. */
export function remember(stream) {
  const messages = [
    { role: "user", content: promptOf(stream.closest(".turn")) },
    { role: "assistant", content: stream.text },
  ];
  for (const message of messages) {
    const input = document.createElement("input");
    input.type = "hidden";
    input.name = "history";
    input.setAttribute("form", "composer");
    input.value = JSON.stringify(message);
    stream.append(input);
  }
}

/** Leaves a turn out of what the composer sends, or takes it in again. */
export function leaveOut(turn, isLeftOut) {
  turn.classList.toggle("left-out", isLeftOut);
  for (const input of turn.querySelectorAll("[name=history]")) input.disabled = isLeftOut;
}

/** Empties the page for a new conversation. */
export function forgetAll() {
  document.getElementById("history").replaceChildren();
  turns().replaceChildren();
}

function showRaw(stream, button) {
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
  button.title = isRaw ? "Show rendered" : "Show as raw text";
}

/** Copy and Raw happen here; Edit and Retry are for the composer to do. */
export function watchActions({ onEdit, onRetry }) {
  turns().addEventListener("click", ({ target }) => {
    const button = target.closest("[data-action]");
    const stream = button?.closest("token-stream");
    const { action } = button?.dataset ?? {};
    if (action === "copy") copyText(stream.text, button);
    if (action === "raw") showRaw(stream, button);
    if (action === "edit") onEdit(stream.closest(".turn"));
    if (action === "retry") onRetry(stream.closest(".turn"));
  });
}
