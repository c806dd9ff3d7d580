// The eventsource package on /worker-endpoint, as a page's own EventSource reads it.

import { EventSource } from "eventsource";
import { CONFIG, run } from "./scenarios.js";

function listen(query, { isFirstEnough = false } = {}) {
  const source = new EventSource(`${CONFIG.url}/worker-endpoint?${new URLSearchParams(query)}`);
  return new Promise((resolve) => follow(source, { isFirstEnough, resolve })).finally(() => source.close());
}

function follow(source, { isFirstEnough, resolve }) {
  const pieces = [];
  source.onmessage = (event) => {
    if (event.data === "[DONE]") {
      resolve({ pieces, is_done: true });
      return;
    }
    const piece = JSON.parse(event.data).response;
    pieces.push(piece);
    if (isFirstEnough) {
      resolve({ piece });
    }
  };
  source.onerror = (error) => {
    const isClosed = source.readyState === source.CLOSED;
    resolve({ pieces, raised: error.constructor.name, status: error.code ?? null, is_closed: isClosed });
  };
}

await run({
  stream: () => listen({ prompt: CONFIG.prompt, model: CONFIG.model, temperature: 0, max_tokens: CONFIG.max_tokens ?? 64 }),
  first_piece: () => listen({ prompt: CONFIG.slow_prompt, model: CONFIG.model }, { isFirstEnough: true }),
  bad_field: () => listen({ prompt: CONFIG.prompt, model: CONFIG.model, temperature: 9 }),
  unknown_model: () => listen({ prompt: CONFIG.prompt, model: "@jeton/none" }),
  long_prompt: () => listen({ prompt: CONFIG.long_prompt, model: CONFIG.small_model, max_tokens: 4 }),
});
