"""The processes of a running Jeton, by the tree below its supervisor: /pool.json says nothing while the web is away."""

import contextlib
import os
import signal
from collections.abc import Iterable

import psutil


def tree(supervisor: int) -> list[psutil.Process]:
    """Everything the supervisor started, and what that started."""
    return psutil.Process(supervisor).children(recursive=True)


def pids_of(supervisor: int, role: str) -> list[int]:
    """The processes of this role: `pool`, `engine`, `gunicorn` or `web`."""
    return [process.pid for process in tree(supervisor) if _role(process) == role]


def send(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal to each; those that are gone are left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def runs(pid: int) -> bool:
    """Whether the process runs; one that nobody has collected yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def connection_count(pid: int) -> int:
    """The process's TCP sockets."""
    try:
        return len(psutil.Process(pid).net_connections("tcp"))
    except psutil.NoSuchProcess:
        return 0


def _role(process: psutil.Process) -> str | None:
    """What the process is for; None where that is none of the roles, or it has ended."""
    try:
        words, is_leader = process.cmdline(), os.getsid(process.pid) == process.pid
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None
    if "gunicorn" in words:
        # The supervisor gives it a session of its own, which its forks, the web processes, share.
        return "gunicorn" if is_leader else "web"
    return words[3] if words[1:3] == ["-m", "webapp"] else None
