"""The supervisor: starts the pool, then gunicorn; restarts what ends; stops in the reverse order of need.

Plain Python that works as PID 1. Knows processes, nothing of generations. HUP goes to gunicorn only: a new
version of the web must not reload weights.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from webapp.processes import SUPERVISOR_VARIABLE, adopt_orphans
from webapp.settings import PROJECT_FOLDER, SettingInvalid, Settings
from webapp.start_up import StartUpReport

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
# Pauses before a restart, by the number of quick ends in a row; a process that ran this long starts anew at once.
RESTART_PAUSES = (0.0, 0.0, 0.2, 1.0, 3.0, 10.0)
LONG_RUN_SECONDS = 10.0
# gunicorn drains its streams within graceful_timeout; the pool gives its engines three seconds.
GUNICORN_STOP_SECONDS = 12.0
POOL_STOP_SECONDS = 6.0


@dataclass
class Service:
    """A process that has to run, and its restarts."""

    name: str
    command: list[str]
    stop_seconds: float
    child: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    quick_ends: int = 0
    due_at: float = 0.0

    def start(self) -> None:
        """Start it in a session of its own: Ctrl+C is for the supervisor, which stops in order."""
        environ = os.environ | {SUPERVISOR_VARIABLE: str(os.getpid())}
        self.child = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, cwd=PROJECT_FOLDER, env=environ, start_new_session=True
        )
        self.started_at = time.monotonic()

    def keep_running(self) -> None:
        """Start it where it is due; note where it has ended."""
        now = time.monotonic()
        if self.child is None:
            if now >= self.due_at:
                self.start()
        elif (code := self.child.poll()) is not None:
            has_run_long = now - self.started_at > LONG_RUN_SECONDS
            self.quick_ends = 0 if has_run_long else self.quick_ends + 1
            self.due_at = now + RESTART_PAUSES[min(self.quick_ends, len(RESTART_PAUSES) - 1)]
            self.child = None
            log.warning("%s ended with %d; it starts anew", self.name, code)

    def send(self, signal_number: int) -> None:
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal_number)

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """The signal, then SIGKILL where it does not end in time."""
        if self.child is None:
            return
        self.send(signal_number)
        try:
            self.child.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            log.warning("%s does not end; it is killed", self.name)
            self.child.kill()
            self.child.wait()


class Supervisor:
    """Pool and gunicorn, and the signals for them."""

    def __init__(self, settings: Settings) -> None:
        python = sys.executable
        self._pool = Service("the pool", [python, "-m", "webapp", "pool"], POOL_STOP_SECONDS)
        self._gunicorn = Service("gunicorn", [python, "-m", "gunicorn", "wsgi:app"], GUNICORN_STOP_SECONDS)
        self._report = StartUpReport(settings)
        # Started from a terminal, HUP says that the terminal is gone, and its user with it.
        self._is_in_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._has_to_stop = False
        # Ctrl+C: whoever sits there waits, and gunicorn ends at once instead of draining.
        self._is_hurried = False
        self._has_to_reload = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_stop)
        signal.signal(signal.SIGHUP, self._note_reload)
        adopt_orphans()
        self._pool.start()
        try:
            while not self._has_to_stop:
                self._take_turn()
                time.sleep(POLL_SECONDS)
        finally:
            # Web first: it drains its streams while the engines still make them. Then the pool, which stops engines.
            self._gunicorn.stop(signal.SIGINT if self._is_hurried else signal.SIGTERM)
            self._pool.stop()
            _end_orphans()

    def _take_turn(self) -> None:
        self._pool.keep_running()
        self._report.take_turn()
        if self._report.is_pool_up:
            self._gunicorn.keep_running()
        if self._has_to_reload:
            self._has_to_reload = False
            self._gunicorn.send(signal.SIGHUP)
        _reap_orphans({service.child.pid for service in (self._pool, self._gunicorn) if service.child})

    def _note_stop(self, signal_number: int, frame: FrameType | None) -> None:
        self._has_to_stop = True
        self._is_hurried = signal_number == signal.SIGINT

    def _note_reload(self, signal_number: int, frame: FrameType | None) -> None:
        self._has_to_stop = self._has_to_stop or self._is_in_terminal
        self._has_to_reload = not self._is_in_terminal


def main(settings: Settings) -> None:
    """The entry of `python -m webapp serve`. Raises SettingInvalid where the address cannot be taken."""
    _check_address(settings)
    Supervisor(settings).run()


def _check_address(settings: Settings) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SettingInvalid("HOST", f"names no address: {settings.host!r}: {error.strerror}") from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise SettingInvalid("PORT", f"is {settings.port}, which cannot be taken: {error.strerror}") from error


def _reap_orphans(own: set[int]) -> None:
    """Collect engines whose pool ended before them; Popen collects our own children."""
    with contextlib.suppress(ChildProcessError):
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended and ended.si_pid not in own:
            os.waitpid(ended.si_pid, os.WNOHANG)


def _end_orphans() -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    # A kernel may be built without this file; such engines end by themselves when they hear no pool.
    with contextlib.suppress(FileNotFoundError):
        for pid in children.read_text("ascii").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
