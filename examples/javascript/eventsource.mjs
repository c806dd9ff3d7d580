// Reads /worker-endpoint with an EventSource, as a page does. It needs no token.
//
//   node --experimental-eventsource eventsource.mjs      (Node 20.18 or newer)
//
// Elsewhere the package eventsource has the same class: import { EventSource } from "eventsource".

const url = process.env.JETON_URL ?? "http://127.0.0.1:8000";
const query = new URLSearchParams({ prompt: process.argv.slice(2).join(" ") || "where is new york?" });

const source = new EventSource(`${url}/worker-endpoint?${query}`);
source.onmessage = (event) => {
  if (event.data === "[DONE]") {
    // An EventSource that is left open connects again, and again.
    source.close();
    process.stdout.write("\n");
    return;
  }
  process.stdout.write(JSON.parse(event.data).response);
};
source.onerror = (event) => {
  // With data it is the server's own event: the generation failed. Without, the connection was lost.
  if (event.data) console.error(JSON.parse(event.data).message);
  if (event.data || source.readyState === EventSource.CLOSED) process.exitCode = 1;
};
