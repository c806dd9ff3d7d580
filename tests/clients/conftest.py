"""What every client is asked, and marks for what is not installed: it is left out loudly."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.clients.programs import NO_NODE_CLIENTS, NO_PYTHON_CLIENTS, SLOW_STEP_SECONDS
from tests.harness import PROJECT_FOLDER, TOKEN, Server

PIECES = ("New", " York", " is", " a", " city", " 🗽.")
TOOL_CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'

NEEDS = {
    "python_clients": NO_PYTHON_CLIENTS,
    "node_clients": NO_NODE_CLIENTS,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark, reason in NEEDS.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = {mark: reason for mark, reason in NEEDS.items() if reason}
    if missing:
        terminalreporter.section("TESTS WITH REAL CLIENTS LEFT OUT", sep="!", red=True, bold=True)
    for mark, reason in missing.items():
        terminalreporter.line(f"{mark.replace('_', ' ')}: {reason}", red=True, bold=True)


def script(*pieces: str, step_seconds: float = 0.0) -> str:
    """A prompt that makes the scripted model say these pieces."""
    return json.dumps({"pieces": pieces, "step_seconds": step_seconds})


@pytest.fixture(scope="session")
def limited_token(server: Server) -> str:
    """An API token that may start one generation a minute in each web process."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "create-token", "--rate-limit", "1"]
    made = subprocess.run(command, cwd=PROJECT_FOLDER, env=server.environ, capture_output=True, text=True, check=True)
    return made.stdout.strip()


@pytest.fixture(scope="session")
def config(server: Server, limited_token: str) -> Callable[..., dict]:
    """What a client's program is told to ask of the scripted server. `path` leads to the API it takes."""

    def make(path: str = "", **more: object) -> dict:
        return {
            "url": server.url,
            "base_url": server.url + path,
            "token": TOKEN,
            "limited_token": limited_token,
            "model": "@jeton/scripted",
            "small_model": "@jeton/scripted-small",
            "embeddings_model": "@jeton/scripted-embeddings",
            "prompt": script(*PIECES),
            "slow_prompt": script(*PIECES, step_seconds=SLOW_STEP_SECONDS),
            "long_prompt": "word " * 12,
            "tool_prompt": script("Let me see. ", TOOL_CALL),
            "json_prompt": script('{"city": ', '"Paris"}'),
        } | more

    return make
