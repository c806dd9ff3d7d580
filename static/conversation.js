// The turns on the page and what they send along: a finished turn becomes hidden
// fields of the composer, so that the next turn carries the conversation.

import { copyText } from "./clipboard.js";
import { showRaw } from "./raw-view.js";

const turns = () => document.getElementById("turns");

export const promptOf = (turn) => turn.querySelector(".prompt").textContent;

export const allTurns = () => [...turns().children];

/** The turn and all after it. */
export const turnsFrom = (turn) => allTurns().slice(allTurns().indexOf(turn));

/** The turns that go along with the next prompt, oldest first. */
export const sentTurns = () => allTurns().filter((turn) => turn.querySelector("[name=history]:enabled"));

/** The answer that is being streamed, if any: there is one at most. */
export const liveStream = () =>
  [...document.querySelectorAll("token-stream[src]")].find((stream) => !stream.isEnded);

/** Adds what was asked and answered to the composer's fields. */
export function remember(stream) {
  const turn = stream.closest(".turn");
  const messages = [
    { role: "user", content: promptOf(turn) },
    { role: "assistant", content: stream.text },
  ];
  for (const message of messages) {
    const input = document.createElement("input");
    input.type = "hidden";
    input.name = "history";
    input.setAttribute("form", "composer");
    input.value = JSON.stringify(message);
    turn.append(input);
  }
  settle(turn);
}

/** Marks a turn that the next answer replaces, or takes the mark away: it is not sent along. */
export function leaveOut(turn, isLeftOut) {
  turn.classList.toggle("left-out", isLeftOut);
  settle(turn);
}

/** Leaves a turn out of what is sent, for want of room, or takes it in again. */
export function keepBack(turn, isKeptBack) {
  turn.classList.toggle("kept-back", isKeptBack);
  turn.querySelector(".not-sent").hidden = !isKeptBack;
  settle(turn);
}

function settle(turn) {
  const isSent = !turn.matches(".left-out, .kept-back");
  for (const input of turn.querySelectorAll("[name=history]")) input.disabled = !isSent;
  document.dispatchEvent(new CustomEvent("conversation:changed"));
}

/** Empties the page for a new conversation. */
export function forgetAll() {
  document.getElementById("left-over")?.remove();
  turns().replaceChildren();
  document.dispatchEvent(new CustomEvent("conversation:changed"));
}

/** Copy, Raw and taking in again happen here; Edit and Retry are for the composer to do. */
export function watchActions({ onEdit, onRetry }) {
  turns().addEventListener("click", ({ target }) => {
    const button = target.closest("[data-action]");
    if (!button) return;
    const turn = button.closest(".turn");
    const stream = turn.querySelector("token-stream");
    const { action } = button.dataset;
    if (action === "copy") copyText(stream.text, button);
    if (action === "raw") showRaw(stream, button);
    if (action === "edit") onEdit(turn);
    if (action === "retry") onRetry(turn);
    if (action === "take-in") keepBack(turn, false);
  });
}
