// Makes env.AI for a Worker in miniflare, with a Jeton behind it instead of Cloudflare.
//
// It is workerd's own binding, so `env.AI.run(...)`, `env.AI.models()` and every version of @cloudflare/ai work as they
// do at Cloudflare. miniflare sends what the binding asks to a proxy (it has no AI of its own); the proxy here sends it
// on to Jeton's /ai/run/proxy, with the API token. Knows nothing of models or of what is asked.

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import { pipeline } from "node:stream";

// How miniflare names the headers of the binding's request, and its URL.
const HEADER_PREFIX = "mf-header-";
const URL_HEADER = "mf-url";
// Those of one connection, which the next makes for itself.
const CONNECTION_HEADERS = new Set(["connection", "host", "keep-alive", "transfer-encoding"]);

// SDKs before 1.0.35 ask for "/run" without a host, which Cloudflare's binding takes and workerd alone does not.
const BINDING_SCRIPT = `
export default function ({ AI }) {
  const fetch = AI.fetch.bind(AI);
  AI.fetch = (input, init) => fetch(typeof input === "string" ? new URL(input, "http://workers-binding.ai") : input, init);
  return AI;
}`;

// `worker` goes into miniflare's `workers`, and its name into another worker's `wrappedBindings`.
export async function startBinding({ url, token, account = "local", name = "jeton-ai" }) {
  // Whoever does not know the path cannot spend the token.
  const path = `/${randomUUID()}`;
  const target = new URL(`/client/v4/accounts/${account}/ai/run/proxy`, url);
  const server = http.createServer((request, response) => {
    if (new URL(request.url, "http://proxy").pathname !== path || !request.headers[URL_HEADER]) {
      response.writeHead(404).end();
      return;
    }
    sendOn(request, response, target, token);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const worker = {
    name,
    modules: true,
    script: BINDING_SCRIPT,
    ai: { binding: "AI", remoteProxyConnectionString: new URL(`http://127.0.0.1:${server.address().port}${path}`) },
  };
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { worker, close };
}

function sendOn(request, response, target, token) {
  const { request: connect } = target.protocol === "https:" ? https : http;
  const headers = { ...bindingHeaders(request), authorization: `Bearer ${token}`, "x-forwarded": request.headers[URL_HEADER] };
  const asked = connect(target, { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, withoutConnection(answer.headers));
    // The reader is gone: so is the request, and Jeton stops the generation.
    pipeline(answer, response, () => asked.destroy());
  });
  asked.on("error", (error) => {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const errors = [{ code: 3040, message: `Jeton does not answer at ${target.origin}: ${error.message}` }];
    response.writeHead(502, { "content-type": "application/json" }).end(JSON.stringify({ errors }));
  });
  response.on("close", () => asked.destroy());
  request.pipe(asked);
}

function bindingHeaders(request) {
  const prefixed = Object.entries(request.headers).filter(([name]) => name.startsWith(HEADER_PREFIX));
  return withoutConnection(Object.fromEntries(prefixed.map(([name, value]) => [name.slice(HEADER_PREFIX.length), value])));
}

function withoutConnection(headers) {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !CONNECTION_HEADERS.has(name)));
}
