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
import { keepTab, restoreTab, showTurns } from "./tab-memory.js";
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
  await liveStream()?.abort();
  composer.begin();
  showTurns(records, takeIn);
  const { model, ...parameters } = JSON.parse(records.at(-1)?.data.request ?? "{}");
  // The seed of one answer is not what the next one is to have.
  writeParameters({ ...parameters, seed: "" });
  chooseModel(model);
  composer.refresh();
  follow.start();
  keepTab();
}

document.addEventListener("generation:started", () => {
  announcer.textContent = say("The answer has started.");
  composer.refresh();
  follow.start();
  keepTab();
});
// What it took and why it failed, for the export and for the composer.
document.addEventListener("generation:frame", ({ target: stream, detail: { event, data } }) => {
  const turn = stream.closest(".turn");
  if (event === "usage") turn.dataset.usage = data;
  if (event === "error") turn.dataset.failure = JSON.parse(data).code;
});
document.addEventListener("generation:loading", refreshModels);
document.addEventListener("generation:written", () => follow.grown());
document.addEventListener("generation:ended", ({ target: stream }) => {
  announcer.textContent = ANNOUNCEMENTS[stream.phase];
  takeIn(stream);
  composer.refresh();
  const turn = stream.closest(".turn");
  if (turn.dataset.failure === "ContextWindowExceeded") composer.takeBack(turn);
  refreshModels();
  keepTab();
});
document.addEventListener("generation:reconnect", (event) => {
  if (liveStream()) event.preventDefault();
});

addEventListener("pagehide", keepTab);
document.getElementById("new-conversation").addEventListener("click", keepTab);
document.getElementById("start-anew").addEventListener("click", keepTab);
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-copy]");
  if (button) copyText(button.dataset.copy, button);
});

// Before the picker and the parameters are read for the first time.
openSetup();
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
watchMoreMenu({ onImport: openConversation });
watchDialogs();
watchWire();
// Before it is needed, and after all that is.
document.getElementById("prompt").addEventListener("input", loadMarkdown, { once: true });
