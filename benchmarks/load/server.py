"""What is measured: a server with its engines, and which of its processes does what."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders.contender import Program
from benchmarks.load.plan import MODEL, Schedule
from benchmarks.load.reader import Source

# By what their command lines hold. What is left, as the supervisor, has nothing to do with events.
_ROLES = ((b"webapp\0engine", "engine"), (b"webapp\0pool", "pool"), (b"gunicorn", "web"), (b"uvicorn", "web"))
_CATALOG = """[[model]]
name = "{name}"
title = "Load"
description = "Says when each token was made."
weights = {{ scripted = true }}
precision = "scripted"
context_window = 8192
sequence_length = 8192
slots = 20000
engines = {engines}
is_loaded_at_start = true
"""


class LoadServer(ABC):
    """One server, as many engines as web processes. Started anew for each run."""

    name: str
    programs: Sequence[Program]

    @property
    @abstractmethod
    def ports(self) -> list[int]:
        """Where its web processes listen."""

    @abstractmethod
    def sources(self, schedules: Sequence[Schedule]) -> list[Source]:
        """Where streams of these schedules are read. Raises ContenderFailed."""

    def start(self) -> None:
        for program in self.programs:
            program.start()

    def stop(self) -> None:
        for program in self.programs:
            program.stop()

    @property
    def output(self) -> str:
        return "\n".join(program.output for program in self.programs)

    def pids(self) -> dict[str, list[int]]:
        """Its processes by role: web, pool, engine."""
        found: dict[str, list[int]] = {"web": [], "pool": [], "engine": [], "other": []}
        for program in self.programs:
            for pid in program.group.pids():
                found[_role(pid)].append(pid)
        return found


def write_catalog(folder: Path, *, engines: int) -> Path:
    """A catalogue with the one scripted model, and places enough for any load."""
    path = folder / "models.toml"
    path.write_text(_CATALOG.format(name=MODEL, engines=engines), "utf-8")
    return path


def _role(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "other"
    return next((role for mark, role in _ROLES if mark in command), "other")
