// A conversation as a file, to keep and to open again: Markdown to read, JSON with
// everything the page knows. Made in the browser; the server sees none of it.

import { allTurns } from "./conversation.js";
import { describe, ENDED } from "./tab-memory.js";
import { say } from "./words.js";

const FORMAT = "jeton-conversation";
const VERSION = 1;
// Of a file that is opened: more than a tab remembers is none of ours.
const MOST_CHARACTERS = 2_000_000;
// More of them would hold up the page for too long.
const MOST_TURNS = 500;
const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "seed", "repetition_penalty"];

const isText = (value) => typeof value === "string";
const parse = (text) => (text ? JSON.parse(text) : {});

export function saveMarkdown() {
  const lines = [`# ${say("Conversation")}`, ""];
  let system = "";
  for (const turn of conversation().turns) {
    if (turn.system && turn.system !== system) lines.push(`## ${say("System prompt")}`, "", turn.system, "");
    system = turn.system;
    lines.push(`## ${say("Prompt")}`, "", turn.prompt, "", `## ${turn.answered_by ?? turn.model_title}`, "");
    lines.push(turn.answer, "", `*${facts(turn)}*`, "");
  }
  save(lines.join("\n"), "md", "text/markdown");
}

export function saveJson() {
  save(`${JSON.stringify(conversation(), null, 2)}\n`, "json", "application/json");
}

/** The records of a file that saveJson has made. Throws a TypeError on anything else. */
export async function readJson(file) {
  if (file.size > MOST_CHARACTERS) throw new TypeError("too large");
  const { format, version, turns } = JSON.parse(await file.text());
  if (format !== FORMAT || version !== VERSION || turns.length > MOST_TURNS || !turns.every(isTurn)) throw new TypeError("another format");
  return turns.map(toRecord);
}

function conversation() {
  const exportedAt = new Date().toISOString();
  return { format: FORMAT, version: VERSION, exported_at: exportedAt, turns: allTurns().map(toTurn) };
}

function toTurn(turn) {
  const record = describe(turn);
  const asked = parse(record.data.request);
  const { finish_reason: finishReason = null, ...usage } = parse(record.data.usage);
  const parameters = NUMBERS.filter((name) => asked[name]).map((name) => [name, Number(asked[name])]);
  return {
    prompt: record.prompt,
    answer: record.text,
    state: record.phase,
    problem: record.problem || null,
    model: asked.model ?? null,
    model_title: record.model,
    answered_by: record.servedBy || null,
    system: asked.system ?? "",
    parameters: Object.fromEntries(parameters),
    engine: turn.querySelector("[data-figure=engine]").textContent || null,
    started_at: record.data.startedAt ?? null,
    finish_reason: finishReason,
    usage,
    is_sent: !record.isKeptBack,
  };
}

function toRecord(turn) {
  const asked = { model: turn.model ?? "", system: turn.system ?? "" };
  for (const name of NUMBERS) asked[name] = String(turn.parameters?.[name] ?? "");
  const usage = { ...turn.usage, finish_reason: turn.finish_reason };
  const data = { request: JSON.stringify(asked), usage: JSON.stringify(usage) };
  if (isText(turn.started_at)) data.startedAt = turn.started_at;
  return {
    prompt: turn.prompt,
    model: turn.model_title,
    servedBy: turn.answered_by ?? "",
    text: turn.answer,
    phase: turn.state,
    outcome: "",
    problem: turn.problem ?? "",
    figures: ["", "", String(turn.usage?.completion_tokens ?? ""), "", turn.engine ?? "", asked.seed],
    counts: {},
    events: "",
    abort: "",
    after: "0",
    data,
    isKeptBack: turn.is_sent === false,
  };
}

function isTurn(turn) {
  const texts = [turn?.prompt, turn?.answer, turn?.model_title];
  const optional = [turn?.model, turn?.system, turn?.answered_by, turn?.problem, turn?.engine];
  return texts.every(isText) && optional.every((text) => text == null || isText(text)) && Object.hasOwn(ENDED, turn.state);
}

function facts({ model, parameters, usage, state }) {
  const known = Object.entries(parameters).map(([name, value]) => `${name} ${value}`);
  const tokens = usage.completion_tokens;
  if (tokens !== undefined) known.push(say("{tokens} tokens", { tokens }));
  if (usage.tokens_per_second) known.push(say("{speed} tokens/s", { speed: usage.tokens_per_second }));
  if (state !== "done") known.push(ENDED[state]);
  return [model && `\`${model}\``, ...known].filter(Boolean).join(" · ");
}

function save(text, extension, type) {
  const link = document.createElement("a");
  const moment = new Date().toISOString().slice(0, 16).replace("T", "-").replace(":", "");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = `jeton-${moment}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
