"""One run: a fresh server, all streams at once, and what became of them and of its processes in the measured time."""

import contextlib
import http.client
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.contenders.contender import ContenderFailed
from benchmarks.load.accounts import Accounts, memory_of, split_of
from benchmarks.load.plan import NANOSECONDS, SETTLE_SECONDS, TAIL_SECONDS, Load, ramp_seconds, schedules
from benchmarks.load.reader import Reader
from benchmarks.load.results import IdleRun, LoadRun
from benchmarks.load.server import LoadServer

WARM_UP_STREAMS = 40
# How long the last streams may take to end once all tokens are made.
PATIENCE_SECONDS = 20.0
# Where the streams were not connected in time, other programs being busy, the run is made again with more of it.
RAMPS = (1.0, 3.0)
HEALTH_PAUSE_SECONDS = 0.1
# Before an idle connection's first token: it is never reached.
IDLE_SECONDS = 3000.0


class NotConnectedInTime(ContenderFailed):
    """The first token was due before all were connected."""


def measure_load(server: LoadServer, load: Load, reader: Path, *, round_number: int, seconds: float) -> LoadRun:
    """The streams' delays over so many seconds. Raises ContenderFailed."""
    for ramp in RAMPS:
        run = LoadRun(server=server.name, streams=load.streams, processes=load.processes, round_number=round_number)
        try:
            _measure_load(server, run, reader, ramp=ramp * ramp_seconds(load.streams), seconds=seconds)
        except NotConnectedInTime:
            if ramp == RAMPS[-1]:
                raise
        else:
            return run
    raise AssertionError("there is a ramp")


def _measure_load(server: LoadServer, run: LoadRun, reader: Path, *, ramp: float, seconds: float) -> None:
    with _started(server, reader) as memory:
        begin_at = _later(time.monotonic_ns(), ramp)
        begin = _later(begin_at, SETTLE_SECONDS)
        end = _later(begin, seconds)
        plan = schedules(run.streams, begin_at=begin_at, seconds=SETTLE_SECONDS + seconds + TAIL_SECONDS)
        with _in_time(begin_at):
            sources = server.sources(plan)
        with Reader(reader, sources, begin=begin, end=end, deadline=_later(end, PATIENCE_SECONDS)) as reading:
            with _in_time(begin_at):
                _check_connected(reading, server, streams=run.streams)
            _sleep_until(begin)
            accounts = Accounts({**server.pids(), "reader": [reading.pid]})
            _sleep_until(end)
            run.cores = accounts.cores()
            web = server.pids()["web"]
            run.web_bytes, run.split = memory_of(web) - memory, split_of(web, processes=run.processes)
            found = run.readings = reading.finish()
    run.events_per_second = found.measured / seconds
    if found.complete < run.streams or found.gaps or found.repeats:
        raise ContenderFailed(f"{server.name}: not every stream came whole: {found}")


def measure_idle(server: LoadServer, run: IdleRun, reader: Path) -> None:
    """Hold connections on which nothing comes, and fill in what that takes. Raises ContenderFailed."""
    with _started(server, reader) as memory:
        never = _later(time.monotonic_ns(), IDLE_SECONDS)
        sources = server.sources(schedules(run.connections, begin_at=never, seconds=1.0))
        with Reader(reader, sources, begin=0, end=0, deadline=never) as reading:
            _check_connected(reading, server, streams=run.connections)
            accounts = Accounts({**server.pids(), "reader": [reading.pid]})
            times = sorted(_ask_health(server.ports, until=time.monotonic() + run.seconds))
            run.cores = accounts.cores()
            web = server.pids()["web"]
            run.web_bytes, run.split = memory_of(web) - memory, split_of(web, processes=run.processes)
            reading.stop()
            found = reading.finish()
    run.comments = found.comments
    run.health_p50, run.health_p99, run.health_longest = (
        times[len(times) // 2],
        times[len(times) * 99 // 100],
        times[-1],
    )
    if found.complete or found.failed:
        raise ContenderFailed(f"{server.name}: not every connection stayed: {found}")


@contextlib.contextmanager
def _started(server: LoadServer, reader: Path) -> Iterator[int]:
    """The server, with what is imported and made at first use; what its web processes hold then, in bytes."""
    server.start()
    try:
        now = time.monotonic_ns()
        sources = server.sources(schedules(WARM_UP_STREAMS, begin_at=_later(now, 1.0), seconds=0.5))
        with Reader(reader, sources, begin=0, end=0, deadline=_later(now, PATIENCE_SECONDS)) as reading:
            found = reading.finish()
        if found.complete < WARM_UP_STREAMS:
            raise ContenderFailed(f"{server.name} does not stream: {found}\n{server.output}")
        yield memory_of(server.pids()["web"])
    finally:
        server.stop()


@contextlib.contextmanager
def _in_time(begin_at: int) -> Iterator[None]:
    """Raises NotConnectedInTime where this lasts longer, whatever else goes wrong when tokens come meanwhile."""
    problem = "the last had not connected when the first token was due"
    try:
        yield
    except ContenderFailed as error:
        if time.monotonic_ns() <= begin_at:
            raise
        problem = str(error)
    if time.monotonic_ns() > begin_at:
        raise NotConnectedInTime(problem)


def _check_connected(reading: Reader, server: LoadServer, *, streams: int) -> None:
    connected = reading.wait_until_connected()
    if connected < streams:
        raise ContenderFailed(f"{server.name}: {connected} of {streams} connected\n{server.output}")


def _ask_health(ports: Sequence[int], *, until: float) -> list[float]:
    """How long each answer of /healthz took, each on a connection of its own."""
    taken: list[float] = []
    for port in itertools.cycle(ports):
        started_at = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        connection.close()
        taken.append(time.perf_counter() - started_at)
        if time.monotonic() >= until:
            break
        time.sleep(HEALTH_PAUSE_SECONDS)
    return taken


def _later(moment: int, seconds: float) -> int:
    return moment + round(seconds * NANOSECONDS)


def _sleep_until(moment: int) -> None:
    time.sleep(max(0, moment - time.monotonic_ns()) / NANOSECONDS)
