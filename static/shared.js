// Assembles the page of a shared link. All that it shows stands there without it.

import "./token-stream.js";
import { copyText } from "./clipboard.js";
import { showRaw } from "./raw-view.js";
import { ReplayPlayer } from "./replay.js";
import { watchSnippets } from "./snippets.js";
import { say } from "./words.js";

const announcer = document.getElementById("announcer");
const recorded = document.querySelector("token-stream[recorded]");
const player = new ReplayPlayer(document.querySelector(".player"), recorded);
const again = document.getElementById("again");
const OUTCOMES = {
  done: say("The answer is complete."),
  stopped: say("The answer was stopped."),
  failed: say("The answer failed."),
};

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button");
  const stream = button?.closest("token-stream");
  if (button?.dataset.copy) copyText(button.dataset.copy, button);
  if (button?.dataset.action === "copy") copyText(stream.text, button);
  if (button?.dataset.action === "raw") showRaw(stream, button);
  if (button?.dataset.action === "stop") stream.abort();
});

function refreshRunAgain() {
  const stream = again.querySelector("token-stream");
  document.querySelector("#run-again button").disabled = Boolean(stream && !stream.isEnded);
}

document.addEventListener("generation:started", ({ target }) => {
  announcer.textContent = target === recorded ? say("The replay has started.") : say("The answer has started.");
  refreshRunAgain();
});
document.addEventListener("generation:ended", ({ target: stream }) => {
  announcer.textContent = stream === recorded ? say("The replay has ended.") : OUTCOMES[stream.phase];
  refreshRunAgain();
  if (stream === recorded) return;
  stream.querySelector("[data-action=stop]").hidden = true;
  if (stream.phase === "failed") return;
  // The server compares: it has both texts.
  stream.parentElement.querySelector(".outcome-of-both").dispatchEvent(new CustomEvent("answer:whole"));
});
again.addEventListener("htmx:after:swap", () => {
  const title = again.querySelector(".comparison h3");
  if (title) announcer.textContent = title.textContent.trim();
});
document.addEventListener("generation:written", ({ target: stream }) => {
  const raw = stream.querySelector(".raw:not([hidden])");
  if (raw) raw.textContent = stream.text;
});

watchSnippets(document);
const wantsToPlay = new URLSearchParams(location.search).get("play") === "1";
if (wantsToPlay && !matchMedia("(prefers-reduced-motion: reduce)").matches) player.toggle();
