"""Who took what of the processor between two moments, and how much memory the web processes hold. Linux only."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.processes import busy_seconds, cpu_seconds, pss_bytes

Pids = Mapping[str, Sequence[int]]


class Accounts:
    """The processor's time since its making, by role, in cores: 1.0 is one core all of the time.

    `background` is what everything else on the machine took: programs that are not measured, and the kernel.
    """

    def __init__(self, pids: Pids) -> None:
        self._pids = pids
        self._at, self._busy, self._own = self._now()

    def cores(self) -> dict[str, float]:
        at, busy, own = self._now()
        seconds = at - self._at
        taken = {role: own[role] - self._own[role] for role in own}
        taken["background"] = max(0.0, busy - self._busy - sum(taken.values()))
        return {role: value / seconds for role, value in taken.items()}

    def _now(self) -> tuple[float, float, dict[str, float]]:
        own = {role: sum(map(cpu_seconds, pids)) for role, pids in self._pids.items()}
        return time.perf_counter(), busy_seconds(), own


def memory_of(pids: Sequence[int]) -> int:
    """What these processes hold, in bytes; what they share counts once."""
    return sum(map(pss_bytes, pids))


def split_of(pids: Sequence[int], *, processes: int) -> list[int]:
    """How the connections are spread: open files of those processes that have most of them."""
    return sorted(map(_open_files, pids), reverse=True)[:processes]


def _open_files(pid: int) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return 0
