"""Engine processes: starts them by exec, watches them through pidfds, ends them. Knows nothing of generations."""

import contextlib
import itertools
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from webapp.device_search import engine_environ
from webapp.pool.roster import Engine

log = logging.getLogger(__name__)

# How long engines have to end by themselves at a stop before they are killed.
STOP_SECONDS = 3.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# OpenMP's threads spin between two parallel loops unless told otherwise; the web processes then wait for a core.
_ENGINE_DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE"}


class EngineProcesses:
    """The processes of all engines on the roster, whoever started them."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._pidfds: dict[int, Engine] = {}
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def pidfds(self) -> tuple[int, ...]:
        """File descriptors that become readable when a process ends."""
        return tuple(self._pidfds)

    def start(self, engine: Engine, now: float) -> bool:
        """Start a process for this post; False where that fails.

        It finds its settings in the environment, as the pool did.
        """
        engine_id = f"{os.getpid()}-{next(self._numbers)}"
        place = engine.place
        command = [sys.executable, "-m", "webapp", "engine", "--model", engine.entry.name, "--engine-id", engine_id]
        command += ["--device", place.device, "--slots", str(place.slots)]
        try:
            environ = engine_environ(_ENGINE_DEFAULTS | os.environ)
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environ)
        except OSError as error:
            # No memory for another process, or none allowed: the pool and its other engines go on.
            engine.error = f"its process cannot be started: {error.strerror}"
            return False
        self._children[child.pid] = child
        engine.started(engine_id, child.pid, now)
        log.info("engine %s starts: %s on %s (pid %d)", engine_id, engine.entry.name, place.device, child.pid)
        if not self.watch(engine):
            child.kill()
            child.wait()
            del self._children[child.pid]
            return False
        return True

    def watch(self, engine: Engine) -> bool:
        """Watch a process by its pid; False where it has already ended, or cannot be watched."""
        try:
            self._pidfds[os.pidfd_open(engine.pid)] = engine
        except OSError as error:
            log.warning("process %d cannot be watched: %s", engine.pid, error.strerror)
            return False
        return True

    def kill(self, engine: Engine) -> None:
        """SIGKILL, which ends a stopped process too."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(engine.pid, signal.SIGKILL)

    def resident_bytes(self, engine: Engine) -> int:
        """The memory the process has in RAM, shared files included; 0 where it cannot be read."""
        try:
            # proc(5): the second number is the resident pages.
            pages = int(Path(f"/proc/{engine.pid}/statm").read_text("ascii").split()[1])
        except (OSError, IndexError):
            return 0
        return pages * _PAGE_BYTES

    def take_ended(self, pidfd: int) -> Engine | None:
        """The post whose process has ended, by the pidfd that became readable; reaps it."""
        engine = self._pidfds.pop(pidfd, None)
        if engine is None:
            return None
        os.close(pidfd)
        child = self._children.pop(engine.pid, None)
        if child:
            code = child.wait()
            engine.has_crashed = engine.has_crashed or code != -signal.SIGKILL
            engine.error = engine.error or (f"its process ended with {code}" if code else None)
        return engine

    def wait_until_ended(self) -> None:
        """Give all processes a moment to end, then kill those that have not."""
        deadline = time.monotonic() + STOP_SECONDS
        poller = select.poll()
        for pidfd in self._pidfds:
            poller.register(pidfd, select.POLLIN)
        while self._pidfds and (seconds_left := deadline - time.monotonic()) > 0:
            for pidfd, _ in poller.poll(1000 * seconds_left):
                poller.unregister(pidfd)
                self.take_ended(pidfd)
        for engine in self._pidfds.values():
            self.kill(engine)
