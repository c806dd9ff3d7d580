"""The moment at which all must have ended: what runs then is killed."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.contenders.contender import Program


class Deadline:
    """So many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        return self._ends_at - time.monotonic()

    @property
    def has_passed(self) -> bool:
        return self.seconds_left <= 0

    @contextmanager
    def kills(self, program: Program) -> Iterator[None]:
        """Whoever waits for the program then learns that it has ended."""
        timer = threading.Timer(max(0.0, self.seconds_left), lambda: program.group.send(signal.SIGKILL))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
