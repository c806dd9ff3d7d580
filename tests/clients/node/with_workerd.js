// Every generation of @cloudflare/ai, and env.AI itself, in one workerd whose env.AI is a Jeton.

import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { startBinding } from "../../../examples/worker/binding.js";
import { CONFIG, read, readFirst, run, untilRefused } from "./scenarios.js";

// Raw, for the SDKs that put a template of their own around a prompt.
const INPUTS = { prompt: CONFIG.prompt, raw: true, temperature: 0, max_tokens: CONFIG.max_tokens ?? 64 };
const SDKS = ["1.0.28", "1.0.53", "1.1.0", "1.2.2", "none"];
// The names of the Worker's bindings, each with an API token of its own.
const TOKENS = { AI: CONFIG.token, AI_WRONG: "wrong", AI_LIMITED: CONFIG.limited_token };

const file = fileURLToPath(new URL("sdk_worker.js", import.meta.url));
const bundle = await build({ entryPoints: [file], bundle: true, format: "esm", write: false });
const bindings = await Promise.all(
  Object.entries(TOKENS).map(([name, token]) => startBinding({ url: CONFIG.url, token, name })),
);
// How wrangler 4 is wired to Jeton.
const service = {
  name: "jeton-ai",
  modules: true,
  scriptPath: fileURLToPath(new URL("../../../examples/worker/jeton-ai/index.js", import.meta.url)),
  compatibilityDate: "2025-11-14",
  bindings: { JETON_URL: CONFIG.url, JETON_TOKEN: CONFIG.token },
};
const worker = {
  name: "worker",
  modules: true,
  script: bundle.outputFiles[0].text,
  compatibilityDate: "2025-11-14",
  serviceBindings: { AI_SERVICE: service.name },
  wrappedBindings: Object.fromEntries(Object.keys(TOKENS).map((name) => [name, name])),
};
const miniflare = new Miniflare({
  host: "127.0.0.1",
  workers: [worker, service, ...bindings.map((binding) => binding.worker)],
});
const address = await miniflare.ready;

async function ask(sdk, { inputs, model = CONFIG.model, binding = "AI", models } = {}) {
  const body = JSON.stringify({ sdk, binding, model, models, inputs: { ...INPUTS, ...inputs } });
  const response = await fetch(address, { method: "POST", body });
  if (!response.ok) {
    const { name, message, httpCode, status } = await response.json();
    throw Object.assign(new Error(message), { name, statusCode: httpCode ?? status });
  }
  return response;
}

async function plain(sdk, fields) {
  return (await ask(sdk, fields)).json();
}

// The data of a stream's events.
async function* events(response) {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of response.body) {
    text += decoder.decode(bytes, { stream: true });
    const whole = text.split("\n\n");
    text = whole.pop();
    yield* whole.map((event) => event.slice("data: ".length));
  }
}

async function* pieces(response) {
  for await (const data of events(response)) {
    yield data === "[DONE]" ? data : JSON.parse(data).response;
  }
}

async function stream(sdk, fields) {
  const seen = await read(pieces(await ask(sdk, { ...fields, inputs: { stream: true } })));
  return { is_done: seen.pieces.pop() === "[DONE]", ...seen };
}

async function firstPiece(sdk) {
  return readFirst(pieces(await ask(sdk, { inputs: { stream: true, prompt: CONFIG.slow_prompt } })));
}

async function models(fields) {
  const { answer } = await plain("none", { ...fields, models: { per_page: 50 } });
  return { names: answer.map((model) => model.name) };
}

async function embeddings(sdk) {
  const { answer } = await plain(sdk, { model: CONFIG.embeddings_model, inputs: { text: ["one", "two"] } });
  return { vectors: answer.data };
}

const SERVICE = { binding: "AI_SERVICE" };
const scenarios = {
  models: () => models(),
  "1.2.2 embeddings": () => embeddings("1.2.2"),
  "none embeddings": () => embeddings("none"),
  "service models": () => models(SERVICE),
  "service plain": () => plain("none", SERVICE),
  "service stream": () => stream("none", SERVICE),
  "service 1.0.53 stream": () => stream("1.0.53", SERVICE),
  "service 1.1.0 stream": () => stream("1.1.0", SERVICE),
  "service 1.2.2 plain": () => plain("1.2.2", SERVICE),
  "service unknown_model": () => plain("none", { ...SERVICE, model: "@cf/none/none" }),
};
for (const sdk of SDKS) {
  Object.assign(scenarios, {
    [`${sdk} plain`]: () => plain(sdk),
    [`${sdk} stream`]: () => stream(sdk),
    [`${sdk} first_piece`]: () => firstPiece(sdk),
    [`${sdk} bad_token`]: () => plain(sdk, { binding: "AI_WRONG" }),
    [`${sdk} too_often`]: () => untilRefused(() => plain(sdk, { binding: "AI_LIMITED" })),
  });
}
for (const sdk of ["1.1.0", "1.2.2", "none"]) {
  Object.assign(scenarios, {
    [`${sdk} unknown_model`]: () => plain(sdk, { model: "@cf/none/none" }),
    [`${sdk} bad_field`]: () => plain(sdk, { inputs: { temperature: 9 } }),
    [`${sdk} long_prompt`]: () => plain(sdk, { model: CONFIG.small_model, inputs: { prompt: CONFIG.long_prompt, max_tokens: 4 } }),
  });
}

await run(scenarios);
await miniflare.dispose();
bindings.forEach((binding) => binding.close());
