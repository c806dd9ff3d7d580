// What each client's program has in common: its configuration, and how it tells what it saw.

export const CONFIG = JSON.parse(process.argv[2]);
// More than any limit in the tests allows.
const MOST_ATTEMPTS = 8;

// Runs the scenarios that the configuration names, else all, and prints one line of JSON for each.
export async function run(scenarios) {
  for (const name of CONFIG.only ?? Object.keys(scenarios)) {
    const seen = await scenarios[name]().catch(describe);
    console.log(JSON.stringify({ scenario: name, ...seen }));
  }
}

// The pieces of a stream, without the empty ones.
export async function read(stream) {
  const pieces = [];
  for await (const piece of stream) {
    if (piece) {
      pieces.push(piece);
    }
  }
  return { pieces };
}

// The first piece of a stream that would go on for longer than this program may.
export async function readFirst(stream) {
  for await (const piece of stream) {
    if (piece) {
      return { piece };
    }
  }
  return {};
}

// Asks until the limit is reached, which throws.
export async function untilRefused(ask) {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt += 1) {
    await ask();
  }
  return {};
}

function describe(error) {
  return { raised: error.name, status: error.statusCode ?? error.httpCode ?? error.code ?? null, message: error.message };
}
