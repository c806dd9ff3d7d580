"""Snippets are run as they are, with hostile prompts: what arrives is what was typed, and the answer comes back."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from tests.harness import TOKEN, Server
from webapp.web.snippets import Snippet, write_snippets

MODEL = "@jeton/scripted"
HOSTILE = [
    'it\'s "quoted", `ticked` and \\backslashed\\ \\n \\u0041',
    "$(touch stolen) ${HOME} $HOME %s {0} {{ }} __BODY__ !! !$",
    "</script><script>alert(1)</script> <!-- --> ]]> &amp;",
    "line\nbreaks\r\nand\ttabs; # no comment // none /* none */",
    "🪙 é \u2028 \u2029 \u202e \u200b \x07 \x1b[31m \x7f \x85 \ufeff",
    "\"\"\"; import os; ''' -d @/etc/passwd \\",
]
# The scripted engine says it back.
ECHO = json.dumps({"pieces": HOSTILE}, ensure_ascii=False)
TEXT = "".join(HOSTILE)


class Relay(BaseHTTPRequestHandler):
    """Notes each request's body on its way to the server, and passes the answer on as it comes."""

    url: ClassVar[str]
    bodies: ClassVar[list[bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.bodies.append(body)
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
        with httpx.stream("POST", self.url + self.path, content=body, headers=headers) as answer:
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.end_headers()
            for block in answer.iter_raw():
                self.wfile.write(block)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def relay(server: Server) -> Iterator[ThreadingHTTPServer]:
    """Its handler's `bodies` are what has come by."""
    handler = type("Handler", (Relay,), {"url": server.url, "bodies": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


@contextmanager
def bodies_of(relay: ThreadingHTTPServer) -> Iterator[list[dict]]:
    """The JSON bodies that come by meanwhile."""
    relay.RequestHandlerClass.bodies.clear()
    taken: list[dict] = []
    yield taken
    taken += [json.loads(body) for body in relay.RequestHandlerClass.bodies]


def snippet(name: str, body: dict, relay: ThreadingHTTPServer) -> Snippet:
    written = write_snippets(MODEL, body, base_url=f"http://127.0.0.1:{relay.server_port}/")
    return next(each for each in written if each.name == name)


def run(written: Snippet, folder: Path, *, more: str = "") -> str:
    """What it prints."""
    suffix, command = {
        "bash": (".sh", ["bash"]),
        "python": (".py", [sys.executable]),
        "javascript": (".mjs", ["node"]),
    }[written.language]
    file = folder / f"snippet{suffix}"
    file.write_text(written.text + more, "utf-8", newline="")
    environ = {"PATH": os.environ["PATH"], "JETON_TOKEN": TOKEN, "PYTHONUTF8": "1", "PYTHONPATH": str(folder)}
    done = subprocess.run([*command, str(file)], cwd=folder, env=environ, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(each.name for each in folder.iterdir() if each.name == "stolen") == []
    return done.stdout.decode("utf-8")


def said(events: str) -> str:
    """The text of a stream as curl shows it."""
    data = [line.removeprefix("data: ") for line in events.split("\n") if line.startswith("data: {")]
    return "".join(json.loads(each)["response"] for each in data)


BODIES = {
    "streamed": {"prompt": ECHO, "stream": True, "seed": 5, "top_k": 3},
    "whole": {"messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": ECHO}], "max_tokens": 50},
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("name", ["curl", "python", "javascript"])
def test_snippet_sends_what_was_typed_and_shows_the_answer(
    name: str, kind: str, relay: ThreadingHTTPServer, tmp_path: Path
) -> None:
    body = BODIES[kind]

    with bodies_of(relay) as sent:
        shown = run(snippet(name, body, relay), tmp_path)

    assert sent == [body]
    if name == "curl":
        shown = said(shown) if kind == "streamed" else json.loads(shown)["result"]["response"]
    assert shown == (TEXT if kind == "streamed" or name == "curl" else f"{TEXT}\n")


RUN_WORKER = """
const env = {{ AI: {{ async run(model, inputs) {{
  const headers = {{ Authorization: `Bearer ${{process.env.JETON_TOKEN}}` }};
  const url = `http://127.0.0.1:{port}/client/v4/accounts/a/ai/run/${{model}}`;
  const answer = await fetch(url, {{ method: "POST", headers, body: JSON.stringify(inputs) }});
  return inputs.stream ? answer.body : (await answer.json()).result;
}} }} }};
const {{ default: worker }} = await import(import.meta.url.replace("runner", "snippet"));
process.stdout.write(await (await worker.fetch(new Request("http://localhost"), env)).text());
"""


@pytest.mark.parametrize("kind", BODIES)
def test_worker_script_sends_what_was_typed_and_passes_the_answer_on(
    kind: str, relay: ThreadingHTTPServer, tmp_path: Path
) -> None:
    body = BODIES[kind]
    (tmp_path / "snippet.mjs").write_text(snippet("worker", body, relay).text, "utf-8", newline="")
    (tmp_path / "runner.mjs").write_text(RUN_WORKER.format(port=relay.server_port), "utf-8")

    with bodies_of(relay) as sent:
        environ = {"PATH": os.environ["PATH"], "JETON_TOKEN": TOKEN}
        done = subprocess.run(["node", tmp_path / "runner.mjs"], env=environ, capture_output=True, timeout=60)

    assert done.returncode == 0, done.stderr.decode()
    assert sent == [body]
    shown = done.stdout.decode()
    assert (said(shown) if kind == "streamed" else json.loads(shown)["response"]) == TEXT


# In the place of the package, which the tests of the clients have: what matters here is the call as Python reads it.
OPENAI = """
import json
import sys

class OpenAI:
    def __init__(self, **settings):
        self.settings = settings
        self.chat = self.completions = self

    def create(self, **call):
        print(json.dumps([self.settings, call]))
        sys.exit()
"""


@pytest.mark.parametrize("kind", BODIES)
def test_openai_call_holds_what_was_typed(kind: str, relay: ThreadingHTTPServer, tmp_path: Path) -> None:
    body = BODIES[kind]
    (tmp_path / "openai.py").write_text(OPENAI, "utf-8")

    settings, call = json.loads(run(snippet("openai", body, relay), tmp_path))

    assert settings == {"base_url": f"http://127.0.0.1:{relay.server_port}/v1", "api_key": TOKEN}
    messages = body.get("messages") or [{"role": "user", "content": ECHO}]
    given = {"stream": True, "seed": 5, "extra_body": {"top_k": 3}} if kind == "streamed" else {"max_tokens": 50}
    assert call == {"model": MODEL, "messages": messages} | given


def test_page_holds_nothing_that_ends_its_script(relay: ThreadingHTTPServer) -> None:
    page = snippet("eventsource", {"prompt": ECHO}, relay).text

    assert page.count("</script") == page.count("<script") == 1
    assert "<!--" not in page


@pytest.mark.parametrize("turns", [1, 3])
def test_request_that_no_address_can_say_has_no_eventsource(turns: int, relay: ThreadingHTTPServer) -> None:
    said_before = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * turns
    long = {"prompt": "é" * 1000}

    for body in (long, {"messages": [*said_before, {"role": "user", "content": "c"}]}):
        written = write_snippets(MODEL, body, base_url="http://127.0.0.1")
        assert [each.name for each in written] == ["curl", "python", "openai", "javascript", "worker"]


def test_json_schema_is_named_where_openai_names_it(relay: ThreadingHTTPServer, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    body = {"prompt": "a", "response_format": {"type": "json_schema", "json_schema": schema}}
    (tmp_path / "openai.py").write_text(OPENAI, "utf-8")

    _, call = json.loads(run(snippet("openai", body, relay), tmp_path))

    named = {"name": "answer", "schema": schema}
    assert call["response_format"] == {"type": "json_schema", "json_schema": named}


def test_what_cannot_be_seen_is_written_as_an_escape() -> None:
    for each in write_snippets(MODEL, {"prompt": "\u202e\x1b\x7f\u2028"}, base_url="http://127.0.0.1"):
        assert all(character.isprintable() or character == "\n" for character in each.text)
