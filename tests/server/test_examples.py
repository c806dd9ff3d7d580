"""The examples, run by the commands that examples/README.md says. The published three: tests/clients, tests/browser."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness import PROJECT_FOLDER, TOKEN, Server, events, free_port

EXAMPLES = PROJECT_FOLDER / "examples"
# What the scripted engine, which stands in for the published model, is made to say.
PROMPT = '{"pieces": ["New", " York", " is 🪙\\n", "here."]}'
SAID = "New York is 🪙\nhere.\n"
COMMANDS = {
    "python/stream.py": [sys.executable],
    "javascript/fetch.mjs": ["node"],
    "javascript/eventsource.mjs": ["node", "--experimental-eventsource", "--no-warnings"],
}


def run(command: list[str], server: Server, *, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "JETON_URL": server.url, "JETON_TOKEN": token, "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=EXAMPLES, env=environ, capture_output=True, encoding="utf-8", timeout=60)


def test_curl_streams_to_the_end(server: Server):
    done = run(["./curl.sh"], server)

    assert done.returncode == 0, done.stderr
    assert re.match(r'data: {"response":".+"}\n\n', done.stdout)
    assert done.stdout.endswith("data: [DONE]\n\n")


def test_curl_fails_with_the_servers_reason(server: Server):
    done = run(["./curl.sh"], server, token="wrong-token")

    assert done.returncode != 0
    assert "Authentication error" in done.stdout


@pytest.mark.parametrize("example", COMMANDS)
def test_example_prints_the_answer(example: str, server: Server):
    done = run([*COMMANDS[example], example, PROMPT], server)

    assert (done.returncode, done.stdout) == (0, SAID), done.stderr


@pytest.mark.parametrize("example", COMMANDS)
def test_example_says_that_an_answer_broke_off(example: str, server: Server):
    done = run([*COMMANDS[example], example, '{"pieces": ["a", "b", "c"], "fail_at": 2}'], server)

    assert done.returncode == 1
    assert done.stdout.startswith("ab")
    assert done.stderr


@pytest.mark.parametrize("example", ["python/stream.py", "javascript/fetch.mjs"])
def test_example_says_why_it_was_refused(example: str, server: Server):
    done = run([*COMMANDS[example], example], server, token="wrong-token")

    assert done.returncode == 1
    assert "401" in done.stderr and "Authentication error" in done.stderr


@pytest.fixture(scope="module")
def page_url(server: Server) -> Iterator[str]:
    """Where page/serve.py listens."""
    port = free_port()
    environ = {"PATH": os.environ["PATH"], "JETON_URL": server.url, "PORT": str(port)}
    command = [sys.executable, "-u", EXAMPLES / "page" / "serve.py"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as serving:
        assert serving.stdout is not None
        assert f":{port}".encode() in serving.stdout.readline()
        yield f"http://127.0.0.1:{port}"
        serving.terminate()


def test_server_of_the_page_serves_it_and_passes_the_stream_on(page_url: str):
    with httpx.Client(base_url=page_url) as browser:
        assert "new EventSource(`/worker-endpoint?" in browser.get("/").text
        assert browser.get("/published").text == (EXAMPLES / "published" / "page.html").read_text("utf-8")
        with browser.stream("GET", "/worker-endpoint", params={"prompt": PROMPT}) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            taken = [event for event in events(answer) if event.event_id]

        last = browser.get("/worker-endpoint", headers={"Last-Event-ID": taken[-1].event_id})

    assert [event.data for event in taken][:2] == ['{"response":"New"}', '{"response":" York"}']
    assert (taken[-1].data, last.status_code) == ("[DONE]", 204)


def test_server_of_the_page_does_not_hide_other_sites_from_jeton(page_url: str):
    assert httpx.get(f"{page_url}/worker-endpoint", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_every_example_is_named_in_their_readme():
    named = set(re.findall(r"\]\(([^):]+)\)", (EXAMPLES / "README.md").read_text("utf-8")))

    assert all((EXAMPLES / name).exists() for name in named)
    folders = {"page", "published", "worker"}
    files = {
        str(path.relative_to(EXAMPLES))
        for path in EXAMPLES.rglob("*.*")
        if path.parts[len(EXAMPLES.parts)] not in folders
    }
    assert files - {"README.md"} <= named
    assert {f"{folder}/" for folder in folders} <= named


def test_no_example_holds_a_token_or_an_address_of_ours():
    for path in EXAMPLES.rglob("*"):
        if path.is_file() and "node_modules" not in path.parts:
            text = path.read_text("utf-8")
            assert not re.search(r"Bearer [\w-]{16,}", text), path
            assert Path.home().as_posix() + "/" not in text, path
