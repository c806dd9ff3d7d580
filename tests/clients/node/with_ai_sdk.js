// Vercel's AI SDK, with workers-ai-provider (the run route) or @ai-sdk/openai-compatible (/v1).

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embedMany, generateText, jsonSchema, streamText, tool } from "ai";
import { createWorkersAI } from "workers-ai-provider";
import { CONFIG, read, readFirst, run, untilRefused } from "./scenarios.js";

const PROVIDERS = {
  "workers-ai-provider": (token) => createWorkersAI({ accountId: "an-account", apiKey: token, fetch: toJeton }),
  "openai-compatible": (token) =>
    createOpenAICompatible({ name: "jeton", baseURL: CONFIG.base_url, apiKey: token, includeUsage: true }),
};
const CITY = jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] });
const WEATHER = tool({ description: "The weather of a city", inputSchema: CITY });

// The provider knows one address only.
function toJeton(url, init) {
  return fetch(String(url).replace("https://api.cloudflare.com", CONFIG.url), init);
}

function asked({ prompt = CONFIG.prompt, model = CONFIG.model, token = CONFIG.token, ...more } = {}) {
  return {
    model: PROVIDERS[CONFIG.provider](token)(model),
    prompt,
    temperature: 0,
    maxOutputTokens: CONFIG.max_tokens ?? 64,
    maxRetries: 0,
    ...more,
  };
}

async function plain(fields) {
  const { text, finishReason, usage } = await generateText(asked(fields));
  return { text, finish_reason: finishReason, completion_tokens: usage.outputTokens };
}

async function stream(fields) {
  let failure;
  const result = streamText({ ...asked(fields), onError: ({ error }) => (failure = error) });
  const seen = await read(result.textStream);
  if (failure) {
    throw failure;
  }
  return { ...seen, finish_reason: await result.finishReason, completion_tokens: (await result.usage).outputTokens };
}

async function firstPiece() {
  const abort = new AbortController();
  const seen = await readFirst(streamText(asked({ prompt: CONFIG.slow_prompt, abortSignal: abort.signal })).textStream);
  abort.abort();
  return seen;
}

async function tools() {
  const { toolCalls, finishReason } = await generateText(asked({ prompt: CONFIG.tool_prompt, tools: { weather: WEATHER } }));
  return { calls: toolCalls.map((call) => [call.toolName, call.input]), finish_reason: finishReason };
}

async function toolsStream() {
  const result = streamText(asked({ prompt: CONFIG.tool_prompt, tools: { weather: WEATHER } }));
  const calls = (await result.toolCalls).map((call) => [call.toolName, call.input]);
  return { calls, finish_reason: await result.finishReason };
}

async function jsonMode() {
  const output = Output.object({ schema: CITY });
  return { output: (await generateText(asked({ prompt: CONFIG.json_prompt, output }))).output };
}

async function embeddings() {
  const provider = PROVIDERS[CONFIG.provider](CONFIG.token);
  const model = (provider.embeddingModel ?? provider.textEmbeddingModel)(CONFIG.embeddings_model);
  return { vectors: (await embedMany({ model, values: ["one", "two"], maxRetries: 0 })).embeddings };
}

await run({
  plain,
  stream,
  first_piece: firstPiece,
  tools,
  tools_stream: toolsStream,
  json_mode: jsonMode,
  embeddings,
  bad_token: () => plain({ token: "wrong" }),
  bad_token_stream: () => stream({ token: "wrong" }),
  bad_field: () => plain({ temperature: 9 }),
  unknown_model: () => plain({ model: "@jeton/none" }),
  long_prompt: () => plain({ prompt: CONFIG.long_prompt, model: CONFIG.small_model, maxOutputTokens: 4 }),
  too_often: () => untilRefused(() => plain({ token: CONFIG.limited_token })),
});
