"""The peer under load: uvicorn processes before the same scripted engine, one engine each."""

import sys
from collections.abc import Sequence

from benchmarks.contenders.contender import Program, free_port, wait_for
from benchmarks.environments import FASTAPI
from benchmarks.load.plan import Schedule
from benchmarks.load.reader import Source
from benchmarks.load.server import LoadServer, write_catalog


class _Uvicorn(Program):
    """One uvicorn process and its engine."""

    def __init__(self) -> None:
        super().__init__("fastapi")
        self.port = free_port()

    @property
    def command(self) -> list[str]:
        application = "benchmarks.load.peer.app:app"
        return [
            str(FASTAPI.python), "-m", "uvicorn", application, "--port", str(self.port), "--log-level", "warning",
            "--no-access-log",
        ]  # fmt: skip

    @property
    def environ(self) -> dict[str, str]:
        return {
            "JETON_DATA_DIR": str(self.folder / "data"),
            "JETON_MODELS_FILE": str(write_catalog(self.folder, engines=1)),
            "ENGINE_PYTHON": sys.executable,
        }

    def wait_until_ready(self) -> None:
        wait_for(f"http://127.0.0.1:{self.port}/healthz", self)


class FastApiLoad(LoadServer):
    """So many uvicorn processes, each on a port of its own with its own engine: nothing between them has to be shared.

    Streams are dealt out evenly, which is more than a listening socket that is shared would do for them.
    """

    name = "fastapi"

    def __init__(self, processes: int) -> None:
        self.programs = self._processes = [_Uvicorn() for _ in range(processes)]

    @property
    def ports(self) -> list[int]:
        return [process.port for process in self._processes]

    def sources(self, schedules: Sequence[Schedule]) -> list[Source]:
        ports = self.ports
        return [
            Source(ports[at % len(ports)], f"/generations/events?begin_at={schedule.begin_at}&tokens={schedule.tokens}")
            for at, schedule in enumerate(schedules)
        ]
