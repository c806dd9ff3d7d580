// Streams an answer with fetch (Node 18 or newer): writes each piece of text as it comes.

const model = "@cf/meta/llama-2-7b-chat-int8";
const url = process.env.JETON_URL ?? "http://127.0.0.1:8000";
const prompt = process.argv.slice(2).join(" ") || "where is new york?";

const response = await fetch(`${url}/client/v4/accounts/local/ai/run/${model}`, {
  method: "POST",
  headers: { Authorization: `Bearer ${process.env.JETON_TOKEN}`, "Content-Type": "application/json" },
  body: JSON.stringify({ prompt, stream: true }),
});
if (!response.ok) {
  console.error(`${response.status}: ${await response.text()}`);
  process.exit(1);
}

let isWhole = false;
let rest = "";
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  // A block may end in the middle of a line.
  const lines = (rest + text).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    if (line === "data: [DONE]") isWhole = true;
    else if (line.startsWith("data: ")) process.stdout.write(JSON.parse(line.slice(6)).response);
  }
}
process.stdout.write("\n");
if (!isWhole) {
  console.error("The answer broke off.");
  process.exit(1);
}
