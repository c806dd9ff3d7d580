"""The code around a request, for each language, streamed and whole. `__NAME__` is where snippets.py puts a value.

The API token comes from the variable JETON_TOKEN, so that no snippet ever holds one.
"""

from typing import NamedTuple


class Template(NamedTuple):
    """`streamed` prints the answer as it comes, `whole` once it is there."""

    streamed: str
    whole: str


CURL = Template(
    streamed="""\
curl -N __URL__ \\
  -H "Authorization: Bearer ${JETON_TOKEN:-YOUR_API_TOKEN}" \\
  -H 'Content-Type: application/json' \\
  -d __BODY__
""",
    whole="""\
curl __URL__ \\
  -H "Authorization: Bearer ${JETON_TOKEN:-YOUR_API_TOKEN}" \\
  -H 'Content-Type: application/json' \\
  -d __BODY__
""",
)

_PYTHON_REQUEST = """\
import json
import os
import urllib.request

token = os.environ.get("JETON_TOKEN", "YOUR_API_TOKEN")
body = __BODY__
request = urllib.request.Request(
    __URL__,
    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    data=json.dumps(body).encode(),
)
with urllib.request.urlopen(request) as answer:
"""
PYTHON = Template(
    streamed=_PYTHON_REQUEST
    + """\
    for line in answer:
        data = line.decode().removeprefix("data: ").strip()
        if data == "[DONE]":
            break
        if data.startswith("{"):
            print(json.loads(data)["response"], end="", flush=True)
""",
    whole=_PYTHON_REQUEST
    + """\
    print(json.load(answer)["result"]["response"])
""",
)

_OPENAI_CLIENT = """\
# pip install openai
import os

from openai import OpenAI

client = OpenAI(base_url=__OPENAI__, api_key=os.environ.get("JETON_TOKEN", "YOUR_API_TOKEN"))
"""
OPENAI = Template(
    streamed=_OPENAI_CLIENT
    + """\
stream = client.chat.completions.create(
    __CALL__
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
""",
    whole=_OPENAI_CLIENT
    + """\
completion = client.chat.completions.create(
    __CALL__
)
print(completion.choices[0].message.content)
""",
)

_JAVASCRIPT_REQUEST = """\
// Node 18 or newer (as a file that ends in .mjs), or a page that this server's address serves.
const token = globalThis.process?.env.JETON_TOKEN ?? "YOUR_API_TOKEN";
const response = await fetch(__URL__, {
  method: "POST",
  headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
  body: JSON.stringify(__BODY__),
});
if (!response.ok) throw new Error(await response.text());
"""
JAVASCRIPT = Template(
    streamed=_JAVASCRIPT_REQUEST
    + """\
const show = (text) => (globalThis.process ? process.stdout.write(text) : document.body.append(text));
const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
let rest = "";
while (true) {
  const { value, done } = await reader.read();
  if (done) break;
  const lines = (rest + value).split("\\n");
  rest = lines.pop();
  for (const line of lines) {
    if (line.startsWith("data: ") && line !== "data: [DONE]") show(JSON.parse(line.slice(6)).response);
  }
}
""",
    whole=_JAVASCRIPT_REQUEST
    + """\
console.log((await response.json()).result.response);
""",
)

_PAGE = """\
<!doctype html>
<meta charset="utf-8">
<title>Jeton</title>
<pre id="output"></pre>
<script>
const query = new URLSearchParams(__QUERY__);
const source = new EventSource("/worker-endpoint?" + query);
source.onmessage = (event) => {
  if (event.data === "[DONE]") {
    source.close();
    return;
  }
  document.getElementById("output").append(JSON.parse(event.data).response);
};
</script>
"""
# An EventSource has no other answer than a stream.
PAGE = Template(streamed=_PAGE, whole=_PAGE)

WORKER = Template(
    streamed="""\
// examples/worker runs it on your machine, with env.AI wired to this server.
export default {
  async fetch(request, env) {
    const stream = await env.AI.run(__MODEL__, __BODY__);
    return new Response(stream, { headers: { "content-type": "text/event-stream" } });
  },
};
""",
    whole="""\
// examples/worker runs it on your machine, with env.AI wired to this server.
export default {
  async fetch(request, env) {
    const answer = await env.AI.run(__MODEL__, __BODY__);
    return Response.json(answer);
  },
};
""",
)
