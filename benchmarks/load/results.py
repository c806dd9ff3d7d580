"""What a run of the load benchmark found: everything its report is made of, as one JSON file."""

import msgspec

from benchmarks.load.reader import Readings


class LoadRun(msgspec.Struct, kw_only=True):
    """One server under one load. `cores` by role: web, pool, engine, reader, background.

    `events_per_second` are those that were made and read in the measured time; `web_bytes` is what the web processes
    grew by, from before the first stream; `split` has the open files of each, nearly all of them connections.
    """

    server: str
    streams: int
    processes: int
    round_number: int
    readings: Readings | None = None
    events_per_second: float = 0.0
    cores: dict[str, float] = {}
    web_bytes: int = 0
    split: list[int] = []
    failure: str | None = None

    @property
    def bytes_per_stream(self) -> float:
        return self.web_bytes / self.streams


class IdleRun(msgspec.Struct, kw_only=True):
    """Connections on which nothing comes but keep-alive comments. Seconds of /healthz, asked on new connections."""

    server: str
    connections: int
    processes: int
    seconds: float
    comments: int = 0
    cores: dict[str, float] = {}
    web_bytes: int = 0
    split: list[int] = []
    health_p50: float = 0.0
    health_p99: float = 0.0
    health_longest: float = 0.0
    failure: str | None = None

    @property
    def bytes_per_connection(self) -> float:
        return self.web_bytes / self.connections


class LoadResults(msgspec.Struct, kw_only=True):
    date: str
    commit: str
    command: str
    machine: dict[str, str]
    versions: dict[str, dict[str, str]] = {}
    seconds: float
    runs: list[LoadRun] = []
    idle: list[IdleRun] = []
