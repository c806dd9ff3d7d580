"""The processes of one contender, wherever they went: found by a mark in their environment. Linux only."""

import contextlib
import os
import signal
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

MARK = "JETON_BENCH_MARK"
_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class ProcessGroup:
    """All processes that were started with `environ`, and their descendants."""

    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def environ(self) -> dict[str, str]:
        return {MARK: self.mark}

    def pids(self) -> list[int]:
        wanted = f"{MARK}={self.mark}".encode()
        return [int(path.name) for path in _PROC.iterdir() if path.name.isdigit() and _has(path, wanted)]

    def send(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @property
    def pss_bytes(self) -> int:
        """Memory, with what several processes share counted once."""
        return sum(pss_bytes(pid) for pid in self.pids())

    @property
    def cpu_seconds(self) -> float:
        return sum(cpu_seconds(pid) for pid in self.pids())

    def wait_until_quiet(self, *, share: float = 0.1, seconds: float = 3.0, timeout: float = 300.0) -> float:
        """Wait until it takes less than `share` of a core for so long: what it compiles after its start is done.

        How long that took.
        """
        started_at = time.perf_counter()
        while time.perf_counter() - started_at < timeout:
            before = self.cpu_seconds
            time.sleep(seconds)
            if self.cpu_seconds - before < share * seconds:
                break
        return time.perf_counter() - started_at - seconds


def cpu_seconds(pid: int) -> float:
    """Processor time of one process, user and system; 0.0 where it has ended."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def busy_seconds() -> float:
    """Processor time that all processes of the machine have taken since its start."""
    fields = (_PROC / "stat").read_text("utf-8").split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / _TICKS


class OutsideLoad:
    """How much of the machine others took, meanwhile: a share of all cores."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group
        self.share = 0.0

    def __enter__(self) -> "OutsideLoad":
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        at, busy, own = (now - before for now, before in zip(self._now(), self._before, strict=True))
        self.share = max(0.0, busy - own) / (at * (os.cpu_count() or 1))

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), busy_seconds(), self._group.cpu_seconds + cpu_seconds(os.getpid())


def _has(process: Path, wanted: bytes) -> bool:
    try:
        return wanted in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def pss_bytes(pid: int) -> int:
    """Memory of one process, of what it shares its share; 0 where it has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
