// A shared link in a frame: shows its whole answer, and on a click how it came.

import "./token-stream.js";
import { say } from "./words.js";

const replay = document.getElementById("replay");
const scroller = document.querySelector("main");
const announcer = document.getElementById("announcer");
const whole = document.querySelector("token-stream");

const isReplaying = () => !whole.isConnected && !document.querySelector("token-stream").isEnded;

function label(sentence) {
  replay.querySelector("span").textContent = sentence;
  replay.toggleAttribute("data-replaying", isReplaying());
}

// At the end the answer as the server recorded it takes the place of the one that came.
function showWhole() {
  const shown = document.querySelector("token-stream");
  if (shown !== whole) shown.replaceWith(whole);
  label(say("Replay"));
}

function start() {
  const blank = document.getElementById("replayed").content.querySelector("token-stream");
  document.querySelector("token-stream").replaceWith(document.importNode(blank, true));
  label(say("Show all"));
}

replay.addEventListener("click", () => {
  if (isReplaying()) showWhole();
  else start();
});
document.addEventListener("generation:started", () => {
  announcer.textContent = say("The replay has started.");
});
document.addEventListener("generation:written", ({ target }) => {
  // A reader who has scrolled up is reading.
  const left = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
  if (target !== whole && left < 120) scroller.scrollTop = scroller.scrollHeight;
});
document.addEventListener("generation:ended", ({ target }) => {
  announcer.textContent = target.phase === "failed" ? say("The replay failed.") : say("The replay is complete.");
  label(say("Replay"));
});
