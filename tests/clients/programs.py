"""Runs the clients' own programs and reads what they say they saw. Knows no client."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.harness import PROJECT_FOLDER

FOLDER = Path(__file__).parent
CLIENTS_PYTHON = PROJECT_FOLDER / ".venv" / "clients" / "bin" / "python"
NODE_MODULES = FOLDER / "node" / "node_modules"
INSTALL = "sh tests/install_clients.sh"
# install_clients.sh makes the stamps.
NO_PYTHON_CLIENTS = None if (CLIENTS_PYTHON.parent.parent / "installed").exists() else f"not installed: {INSTALL}"
NO_NODE_CLIENTS = (
    None if shutil.which("node") and (NODE_MODULES / "installed").exists() else f"not installed: {INSTALL}"
)
PROGRAM_SECONDS = 120.0
# Between two pieces of the slow stream: who waits for its end does so for longer than a program may run.
SLOW_STEP_SECONDS = PROGRAM_SECONDS

# What a program saw in each of its scenarios, by the scenario's name.
Seen = dict[str, dict]


def run_python(program: str, config: Mapping[str, object]) -> Seen:
    """What a program of tests/clients/python says, run where the clients for Python are installed."""
    return _run([str(CLIENTS_PYTHON), str(FOLDER / "python" / program)], config)


def run_node(program: str, config: Mapping[str, object]) -> Seen:
    """What a program of tests/clients/node says."""
    return _run(["node", "--no-warnings", str(FOLDER / "node" / program)], config)


def _run(command: list[str], config: Mapping[str, object]) -> Seen:
    ran = subprocess.run([*command, json.dumps(config)], capture_output=True, text=True, timeout=PROGRAM_SECONDS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert lines, ran.stdout + ran.stderr
    return {line.pop("scenario"): line for line in lines}


def assert_streamed(streamed: dict, pieces: tuple[str, ...], *, first_piece: dict) -> None:
    """The pieces came in order and each by itself, and the first of the slow stream before its second was made."""
    assert streamed.get("pieces") == list(pieces), streamed
    assert first_piece == {"piece": pieces[0]}


def assert_raised(seen: dict, kind: str, status: int) -> None:
    """The client raised its own exception of this name and HTTP status."""
    assert (seen.get("raised"), seen.get("status")) == (kind, status), seen
