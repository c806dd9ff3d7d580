"""Engine processes: starts them by exec, watches them through pidfds, ends them. Knows nothing of generations."""

import contextlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import time

from webapp.pool.roster import Engine, Roster

log = logging.getLogger(__name__)

# How long engines have to end by themselves at a stop before they are killed.
STOP_SECONDS = 3.0


class EngineProcesses:
    """The processes of all engines on the roster, whoever started them."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._numbers = itertools.count(1)
        self._pidfds: dict[int, Engine] = {}
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def pidfds(self) -> tuple[int, ...]:
        """File descriptors that become readable when a process ends."""
        return tuple(self._pidfds)

    def start(self, engine: Engine, now: float) -> None:
        """Start a process for this post. It finds its settings in the environment, as the pool did."""
        engine_id = f"{os.getpid()}-{next(self._numbers)}"
        command = [sys.executable, "-m", "webapp", "engine", "--model", engine.entry.name, "--engine-id", engine_id]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._children[child.pid] = child
        engine.started(engine_id, child.pid, now)
        self.watch(engine)
        log.info("engine %s starts: %s (pid %d)", engine_id, engine.entry.name, child.pid)

    def watch(self, engine: Engine) -> None:
        """Watch a process by its pid; one that is already gone is noticed as any other loss, by its silence."""
        with contextlib.suppress(ProcessLookupError):
            self._pidfds[os.pidfd_open(engine.pid)] = engine

    def kill(self, engine: Engine) -> None:
        """SIGKILL, which ends a stopped process too."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(engine.pid, signal.SIGKILL)

    def take_ended(self, pidfd: int) -> Engine | None:
        """The post whose process has ended, by the pidfd that became readable; reaps it."""
        engine = self._pidfds.pop(pidfd, None)
        if engine is None:
            return None
        os.close(pidfd)
        child = self._children.pop(engine.pid, None)
        if child:
            code = child.wait()
            engine.error = engine.error or (f"its process ended with {code}" if code else None)
        return engine

    def wait_until_ended(self) -> None:
        """Give all processes a moment to end, then kill those that have not."""
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(
            _is_running(engine.pid) for engine in self._roster if engine.is_started
        ):
            for child in self._children.values():
                child.poll()
            time.sleep(0.02)
        for engine in self._roster:
            if engine.is_started:
                self.kill(engine)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
