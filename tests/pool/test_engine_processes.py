"""Processes the pool holds: noticed when they end, killed when they hang, and never the end of the pool."""

import errno
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.pool.driving import entry
from webapp.pool import engine_processes
from webapp.pool.engine_processes import EngineProcesses
from webapp.pool.roster import Engine

SLEEP = "import time; time.sleep(60)"
IGNORE = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"


@pytest.fixture
def spawn() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    spawned: list[subprocess.Popen[bytes]] = []

    def start(code: str) -> subprocess.Popen[bytes]:
        spawned.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
        return spawned[-1]

    yield start
    for process in spawned:
        process.kill()
        process.wait()


def on_post(pid: int) -> Engine:
    engine = Engine(entry(), entry().place_on_cpu)
    engine.started("7-1", pid, 1.0)
    return engine


def ended(processes: EngineProcesses) -> list[Engine]:
    """The engines whose processes end within a second."""
    readable, _, _ = select.select(processes.pidfds, [], [], 1.0)
    return [engine for pidfd in readable if (engine := processes.take_ended(pidfd))]


def test_end_of_a_watched_process_is_noticed_once(spawn: Callable[[str], subprocess.Popen[bytes]]) -> None:
    processes, engine = EngineProcesses(), on_post(spawn(SLEEP).pid)
    assert processes.watch(engine)
    (pidfd,) = processes.pidfds

    processes.kill(engine)

    assert ended(processes) == [engine]
    assert processes.pidfds == ()
    assert processes.take_ended(pidfd) is None


def test_stopped_process_can_be_killed(spawn: Callable[[str], subprocess.Popen[bytes]]) -> None:
    processes, engine = EngineProcesses(), on_post(spawn(SLEEP).pid)
    processes.watch(engine)
    os.kill(engine.pid, signal.SIGSTOP)

    processes.kill(engine)

    assert ended(processes) == [engine]


def test_memory_of_a_process_is_what_it_has_in_ram(spawn: Callable[[str], subprocess.Popen[bytes]]) -> None:
    process = spawn("import time; held = bytearray(b'x') * 50_000_000; print(flush=True); time.sleep(60)")
    assert process.stdout and process.stdout.readline()

    assert 50_000_000 < EngineProcesses().resident_bytes(on_post(process.pid)) < 150_000_000


def test_process_that_is_gone_takes_no_memory(spawn: Callable[[str], subprocess.Popen[bytes]]) -> None:
    gone = spawn("")
    gone.wait()

    assert EngineProcesses().resident_bytes(on_post(gone.pid)) == 0


def test_process_that_has_ended_cannot_be_watched(spawn: Callable[[str], subprocess.Popen[bytes]]) -> None:
    gone = spawn("")
    gone.wait()
    processes = EngineProcesses()

    assert not processes.watch(on_post(gone.pid))
    assert processes.pidfds == ()
    processes.kill(on_post(gone.pid))


def test_process_that_cannot_be_started_is_an_error_of_its_engine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(engine_processes.subprocess, "Popen", refuse)
    engine = Engine(entry(), entry().place_on_cpu)

    assert not EngineProcesses().start(engine, 1.0)

    assert not engine.is_started
    assert engine.error and os.strerror(errno.EAGAIN) in engine.error


def test_exit_status_is_kept_as_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_processes.sys, "executable", "/bin/false")
    processes, engine = EngineProcesses(), Engine(entry(), entry().place_on_cpu)

    assert processes.start(engine, 1.0)

    assert engine.is_started and engine.engine_id.startswith(f"{os.getpid()}-")
    assert ended(processes) == [engine]
    assert engine.error == "its process ended with 1"


def test_stop_waits_for_those_that_end_and_kills_those_that_do_not(
    spawn: Callable[[str], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_processes, "STOP_SECONDS", 0.2)
    willing, stubborn = spawn(SLEEP), spawn(IGNORE)
    assert stubborn.stdout and stubborn.stdout.readline()
    processes = EngineProcesses()
    for process in (willing, stubborn):
        processes.watch(on_post(process.pid))
        process.terminate()

    processes.wait_until_ended()

    assert (willing.wait(1), stubborn.wait(1)) == (-signal.SIGTERM, -signal.SIGKILL)


def test_stop_does_not_wait_for_a_process_that_nobody_has_reaped(
    spawn: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    # An engine of an earlier pool is another process's child: it stays a zombie here.
    process = spawn("")
    processes = EngineProcesses()
    processes.watch(on_post(process.pid))
    started_at = time.monotonic()

    processes.wait_until_ended()

    assert time.monotonic() - started_at < engine_processes.STOP_SECONDS
    assert processes.pidfds == ()
