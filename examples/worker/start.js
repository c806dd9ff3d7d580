// Runs a Worker script in workerd, Cloudflare's own runtime, with env.AI answered by your own Jeton.
//   npm start                       the published script, worker.js
//   npm start -- path/to/worker.js  one of yours

import { build } from "esbuild";
import { Miniflare } from "miniflare";
import { startBinding } from "./binding.js";

const script = process.argv[2] ?? "worker.js";
const url = process.env.JETON_URL ?? "http://127.0.0.1:8000";
const token = process.env.JETON_TOKEN;
const port = Number(process.env.PORT ?? 8787);

if (!token) {
  console.error("JETON_TOKEN is not set. Jeton prints an API token at its start, and after `python -m webapp create-token`.");
  process.exit(1);
}

const bundle = await build({ entryPoints: [script], bundle: true, format: "esm", write: false });
const binding = await startBinding({ url, token });
const miniflare = new Miniflare({
  host: "127.0.0.1",
  port,
  workers: [
    {
      name: "worker",
      modules: true,
      script: bundle.outputFiles[0].text,
      compatibilityDate: "2026-07-01",
      wrappedBindings: { AI: binding.worker.name },
    },
    binding.worker,
  ],
});
console.log(`${script} runs at ${(await miniflare.ready).origin}, and env.AI is ${url}`);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await miniflare.dispose();
    binding.close();
  });
}
