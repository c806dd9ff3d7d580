// Assembles the playground page.

import "./token-stream.js";
import { loadMarkdown } from "./answer-view.js";
import { copyText } from "./clipboard.js";
import { Composer } from "./composer.js";
import { liveStream, remember, watchActions } from "./conversation.js";
import { watchDialogs } from "./dialogs.js";
import { Follow } from "./follow.js";
import { watchKeys } from "./keys.js";
import { chooseModel, chosenCard, refreshModels, watchModels } from "./models.js";
import { watchMoreMenu } from "./more-menu.js";
import { limitTo, watchParameters, writeParameters } from "./parameters.js";
import { Presets } from "./presets.js";
import { openSetup } from "./setup-link.js";
import { keepTab, restore, restoreTab, setAside, showTurns, takeSetAside } from "./tab-memory.js";
import { TokenMeter } from "./token-meter.js";
import { watchWire } from "./wire-log.js";
import { say } from "./words.js";

const ANNOUNCEMENTS = {
  done: say("The answer is complete."),
  stopped: say("The answer was stopped."),
  failed: say("The answer failed."),
};

const composer = new Composer();
const follow = new Follow({
  scroller: document.getElementById("scroller"),
  content: document.getElementById("turns"),
  jump: document.getElementById("jump"),
});
const announcer = document.getElementById("announcer");

function takeIn(stream) {
  if (stream.phase !== "failed" && stream.text) remember(stream);
}

async function openConversation(file) {
  let records;
  try {
    records = await (await import("./transcript.js")).readJson(file);
  } catch {
    composer.say(say("This file is no conversation that Jeton has exported."));
    return;
  }
  liveStream()?.abort();
  composer.begin();
  showTurns(records, takeIn);
  const { model, ...parameters } = JSON.parse(records.at(-1)?.data.request ?? "{}");
  // The seed of one answer is not what the next one is to have.
  writeParameters({ ...parameters, seed: "" });
  chooseModel(model);
  showOpened();
}

function bringBack() {
  const before = takeSetAside();
  liveStream()?.abort();
  composer.begin();
  restore(before, takeIn);
  writeParameters(Object.fromEntries(before.fields));
  document.getElementById("model").dispatchEvent(new Event("change", { bubbles: true }));
  showOpened();
  document.getElementById("prompt").focus();
}

function showOpened() {
  composer.refresh();
  follow.start();
  keepTab();
}

document.addEventListener("generation:started", () => {
  announcer.textContent = say("The answer has started.");
  composer.refresh();
  follow.start();
  setTimeout(keepTab);
});
document.addEventListener("generation:loading", refreshModels);
document.addEventListener("generation:written", () => follow.grown());
document.addEventListener("generation:ended", ({ target: stream }) => {
  announcer.textContent = ANNOUNCEMENTS[stream.phase];
  takeIn(stream);
  composer.refresh();
  const turn = stream.closest(".turn");
  // For the export.
  if (stream.usage) turn.dataset.usage = JSON.stringify(stream.usage);
  if (stream.failureCode === "ContextWindowExceeded") composer.takeBack(turn);
  // In tasks of their own: what is kept may be long.
  setTimeout(refreshModels);
  setTimeout(keepTab);
});
document.addEventListener("generation:reconnect", (event) => {
  if (liveStream()) event.preventDefault();
});

addEventListener("pagehide", keepTab);
document.getElementById("new-conversation").addEventListener("click", keepTab);
document.getElementById("start-anew").addEventListener("click", keepTab);
document.getElementById("bring-back").addEventListener("click", bringBack);
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-copy]");
  if (button) copyText(button.dataset.copy, button);
});

// Before the picker and the parameters are read for the first time.
if (openSetup()) composer.showSetAside(setAside());
restoreTab(takeIn);
follow.start();
watchActions({ onEdit: (turn) => composer.edit(turn), onRetry: (turn) => composer.retry(turn) });
const meter = new TokenMeter(chosenCard);
watchModels((card) => {
  limitTo(card);
  document.getElementById("prompt").placeholder = say("Ask {model} anything", { model: card.dataset.title });
  meter.modelChanged();
});
watchParameters();
new Presets();
watchKeys();
watchMoreMenu({ onImport: openConversation, onBringBack: bringBack });
watchDialogs();
watchWire();
// Before it is needed, and after all that is.
document.getElementById("prompt").addEventListener("input", loadMarkdown, { once: true });
