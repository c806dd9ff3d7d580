// What this tab keeps across a reload: its turns, and what stands in the composer; and
// the conversation that another one took the place of. Lives in sessionStorage, so that
// it goes with the tab. Everything is kept and put back as text. A page without storage
// works as well; it only forgets.

import { keepBack, promptOf } from "./conversation.js";
import { Figures } from "./figures.js";
import { say } from "./words.js";

const KEY = "jeton.tab";
const KEY_SET_ASIDE = "jeton.tab.before";
// In characters of JSON. Past this the oldest turns are forgotten.
const MOST_CHARACTERS = 1_000_000;
/** How an answer ends, and what the page says of it. */
export const ENDED = { done: say("Done"), stopped: say("Stopped"), failed: say("Failed") };
const FIGURES = ["completion_tokens", "time_to_first_token", "tokens_per_second", "seconds"];
const NOT_KEPT = ["csrf_token", "history"];
// What a turn's data attributes may be; htmx reads others.
const DATA = ["generation", "request", "startedAt", "usage"];
const COUNTS = ["totalTokens", "counted", "startedAt"];

const form = () => document.getElementById("composer");
const turns = () => document.getElementById("turns");
const figures = (turn) => [...turn.querySelectorAll("[data-figure]")];

/** Keeps the page as it is now. */
export function keepTab() {
  const fields = [...new FormData(form())].filter(([name]) => !NOT_KEPT.includes(name));
  const kept = [...turns().children].map((turn) => JSON.stringify(describe(turn)));
  let characters = kept.reduce((sum, turn) => sum + turn.length, 0);
  while (characters > MOST_CHARACTERS) characters -= kept.shift().length;
  try {
    sessionStorage.setItem(KEY, `{"fields":${JSON.stringify(fields)},"turns":[${kept.join(",")}]}`);
  } catch {
    // Storage that is full or switched off: nothing is kept.
  }
}

/** Puts back what was kept; calls `onEnded` with each answer that is complete. */
export function restoreTab(onEnded) {
  // A page that came with turns or fields of its own is newer than what was kept.
  if (!turns().childElementCount && !("prefilled" in form().dataset)) restore(read(KEY), onEnded);
}

/** Puts back a conversation, which `takeSetAside` gave. */
export function restore(kept, onEnded) {
  for (const [name, value] of kept.fields) putBack(form().elements.namedItem(name), value);
  showTurns(kept.turns, onEnded);
}

/** Sets the kept conversation aside, if anything was run in it: another takes its place. Says whether it did. */
export function setAside() {
  if (!read(KEY).turns.some(({ data }) => data?.generation)) return false;
  try {
    sessionStorage.setItem(KEY_SET_ASIDE, sessionStorage.getItem(KEY));
    return true;
  } catch {
    return false;
  }
}

export const isAnySetAside = () => read(KEY_SET_ASIDE).turns.length > 0;

/** The conversation that was set aside, which is forgotten with this. */
export function takeSetAside() {
  const kept = read(KEY_SET_ASIDE);
  try {
    sessionStorage.removeItem(KEY_SET_ASIDE);
  } catch {
    // Without storage there was none.
  }
  return kept;
}

/** Adds the turns of these records; calls `onEnded` with each answer that is complete. */
export function showTurns(records, onEnded) {
  for (const record of records) {
    const turn = build(record);
    turns().append(turn);
    const stream = turn.querySelector("token-stream");
    if (stream.isEnded) onEnded(stream);
    if (record.isKeptBack) keepBack(turn, true);
  }
  document.getElementById("welcome").hidden = turns().childElementCount > 0;
}

/** All that the page shows of a turn. */
export function describe(turn) {
  const stream = turn.querySelector("token-stream");
  const textOf = (selector) => turn.querySelector(selector)?.textContent.trim() ?? "";
  // One stream at a time: of the answers that lost their connection only the last tries again.
  const canReconnect = turn === turns().lastElementChild && !turn.querySelector(".reconnect").hidden;
  return {
    prompt: promptOf(turn),
    model: textOf("header h2"),
    servedBy: textOf(".served-by strong"),
    text: stream.text,
    phase: canReconnect ? "lost" : stream.phase,
    outcome: textOf(".outcome:not([hidden]) span"),
    problem: canReconnect ? "" : textOf(".problem:not([hidden]) span"),
    figures: figures(turn).map((figure) => figure.textContent),
    counts: { ...stream.counts },
    events: stream.getAttribute("src") ?? "",
    abort: stream.getAttribute("abort") ?? "",
    after: String(stream.lastEventId),
    // Of its generation: the id, what was asked, what it took.
    data: { ...turn.dataset },
    isKeptBack: turn.matches(".kept-back"),
  };
}

function build(record) {
  const turn = document.importNode(document.getElementById("blank-turn").content, true).firstElementChild;
  const stream = turn.querySelector("token-stream");
  const write = (selector, text) => {
    turn.querySelector(selector).textContent = text;
  };
  write(".prompt", record.prompt);
  write("header h2", record.model);
  write(".answer", record.text);
  stream.setAttribute("aria-label", say("Answer of {model}", record));
  Object.assign(turn.dataset, only(DATA, record.data));
  if (record.servedBy) {
    write(".served-by strong", record.servedBy);
    write(".served-by .asked", record.model);
  } else {
    turn.querySelector(".served-by").remove();
  }
  figures(turn).forEach((figure, index) => {
    figure.textContent = record.figures[index] ?? "";
  });
  const list = turn.querySelector(".figures");
  Object.assign(list.dataset, only(COUNTS, record.counts));
  // The server's own figures are written anew: the page may be in another language by now.
  const usage = readUsage(record.data);
  if (usage) new Figures(list, usage).draw();
  list.hidden = !list.querySelector("[data-figure]:not(:empty)");
  if (Object.hasOwn(ENDED, record.phase)) {
    turn.querySelector(".phase").dataset.phase = record.phase;
    write(".phase span", ENDED[record.phase]);
    for (const name of ["outcome", "problem"]) {
      write(`.${name} span`, record[name]);
      turn.querySelector(`.${name}`).hidden = !record[name];
    }
  } else {
    stream.setAttribute("abort", record.abort);
    stream.setAttribute("after", record.after);
    stream.setAttribute("src", record.events);
  }
  return turn;
}

function putBack(field, value) {
  if (!field || field.type === "hidden") return;
  // A model that is gone, or not to be chosen any more, leaves the choice as it is.
  if (field.options && ![...field.options].some((option) => option.value === value && !option.disabled)) return;
  field.value = value;
}

function read(key) {
  try {
    const { fields, turns } = JSON.parse(sessionStorage.getItem(key));
    return { fields: fields.filter(isPair), turns: turns.filter(isRecord) };
  } catch {
    return { fields: [], turns: [] };
  }
}

function readUsage(data) {
  try {
    const usage = JSON.parse(data.usage);
    return FIGURES.every((name) => typeof usage[name] === "number") ? usage : null;
  } catch {
    return null;
  }
}

const only = (names, values) => Object.fromEntries(Object.entries(values ?? {}).filter(([name]) => names.includes(name)));
const isText = (value) => typeof value === "string";
const isPair = (pair) => Array.isArray(pair) && pair.length === 2 && pair.every(isText);

function isObjectAsJson(text) {
  if (!text) return true;
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object";
  } catch {
    return false;
  }
}

function isRecord(record) {
  const { figures, counts, data, ...texts } = record ?? {};
  const names = [
    "prompt", "model", "servedBy", "text", "phase", "outcome", "problem", "events", "abort", "after",
  ];
  return (
    names.every((name) => isText(texts[name])) &&
    Array.isArray(figures) && figures.every(isText) &&
    Object.values(counts ?? {}).every(isText) &&
    // Those of an earlier version have none.
    Object.values(data ?? {}).every(isText) &&
    [data?.request, data?.usage].every(isObjectAsJson) &&
    (Object.hasOwn(ENDED, record.phase) || [texts.events, texts.abort].every((path) => path.startsWith("/generations/")))
  );
}
