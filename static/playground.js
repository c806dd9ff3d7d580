// Assembles the playground page.

import "./get-code.js";
import "./share.js";
import "./token-stream.js";
import "./wire-drawer.js";
import { Composer } from "./composer.js";
import { liveStream, remember, watchActions } from "./conversation.js";
import { Follow } from "./follow.js";
import { chosenCard, refreshModels, watchModels } from "./models.js";
import { limitTo, watchParameters } from "./parameters.js";
import { keepTab, restoreTab } from "./tab-memory.js";

const ANNOUNCEMENTS = {
  done: "The answer is complete.",
  stopped: "The answer was stopped.",
  failed: "The answer failed.",
};

const composer = new Composer();
const follow = new Follow({
  scroller: document.getElementById("scroller"),
  content: document.getElementById("turns"),
  jump: document.getElementById("jump"),
});
const announcer = document.getElementById("announcer");

function showContext(stream) {
  const window = Number(chosenCard()?.dataset.contextWindow);
  const { totalTokens } = stream;
  if (!totalTokens || !window) return;
  const meter = document.querySelector("#context meter");
  meter.max = window;
  meter.value = Math.min(totalTokens, window);
  document.getElementById("context-text").textContent =
    `${totalTokens.toLocaleString("en")} of ${window.toLocaleString("en")} tokens`;
  document.getElementById("context").hidden = false;
}

function takeIn(stream) {
  if (stream.phase !== "failed" && stream.text) remember(stream);
  showContext(stream);
}

document.addEventListener("generation:started", () => {
  announcer.textContent = "The answer has started.";
  composer.refresh();
  follow.start();
  keepTab();
});
document.addEventListener("generation:loading", refreshModels);
document.addEventListener("generation:written", () => follow.grown());
document.addEventListener("generation:ended", ({ target: stream }) => {
  announcer.textContent = ANNOUNCEMENTS[stream.phase];
  takeIn(stream);
  composer.refresh();
  refreshModels();
  keepTab();
});
document.addEventListener("generation:reconnect", (event) => {
  if (liveStream()) event.preventDefault();
});

addEventListener("pagehide", keepTab);
document.getElementById("new-conversation").addEventListener("click", keepTab);

// Before the picker and the parameters are read for the first time.
restoreTab(takeIn);
follow.start();
watchActions({ onEdit: (turn) => composer.edit(turn), onRetry: (turn) => composer.retry(turn) });
watchModels((card) => {
  limitTo(card);
  document.getElementById("prompt").placeholder = `Ask ${card.dataset.title} anything`;
});
watchParameters();
