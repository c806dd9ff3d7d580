// A Worker that answers for env.AI with your own Jeton: for `wrangler dev`, where env.AI is else always Cloudflare's.
// README.md says how to bind it. Knows nothing of models or of what is asked.

import { WorkerEntrypoint } from "cloudflare:workers";

const BINDING_URL = "https://workers-binding.ai";

export default class extends WorkerEntrypoint {
  // What @cloudflare/ai before 1.2.2 calls.
  fetch(request) {
    const headers = new Headers(request.headers);
    headers.set("authorization", `Bearer ${this.env.JETON_TOKEN}`);
    headers.set("x-forwarded", request.url);
    const url = new URL("/client/v4/accounts/local/ai/run/proxy", this.env.JETON_URL);
    return fetch(url, { method: request.method, headers, body: request.body, signal: request.signal });
  }

  // env.AI.run(...): an object, or with `stream: true` a stream of server-sent events.
  async run(model, inputs, options = {}) {
    const headers = { "content-type": "application/json", "cf-consn-model-id": model };
    const response = await this.#ask("/run?version=3", { method: "POST", headers, body: JSON.stringify({ inputs, options }) });
    return response.headers.get("content-type") === "application/json" ? response.json() : response.body;
  }

  // env.AI.models(...): the catalogue.
  async models(filters = {}) {
    const response = await this.#ask(`/ai-api/models/search?${new URLSearchParams(filters)}`);
    return (await response.json()).result;
  }

  async #ask(path, init) {
    const response = await this.fetch(new Request(BINDING_URL + path, init));
    if (!response.ok) {
      throw new Error(whatFailed(await response.json()));
    }
    return response;
  }
}

// As env.AI's own exceptions say it.
function whatFailed({ internalCode, description, errors }) {
  return internalCode ? `${internalCode}: ${description}` : `${errors[0].code}: ${errors[0].message}`;
}
