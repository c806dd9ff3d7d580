"""`python -m benchmarks.load`: measures Jeton and a plain peer under many streams, and writes the report."""

import argparse
import datetime
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.contenders.contender import ContenderFailed
from benchmarks.environments import FASTAPI, FOLDER
from benchmarks.load.jeton import JetonLoad
from benchmarks.load.measure import measure_idle, measure_load
from benchmarks.load.peer_server import FastApiLoad
from benchmarks.load.plan import (
    IDLE_CONNECTIONS,
    IDLE_PROCESSES,
    LOADS,
    QUICK_IDLE_CONNECTIONS,
    QUICK_LOADS,
    Load,
    load_of,
)
from benchmarks.load.reader import compile_reader
from benchmarks.load.report import idle_line, load_line, markdown
from benchmarks.load.results import IdleRun, LoadResults, LoadRun
from benchmarks.load.server import LoadServer
from benchmarks.plan import rotated
from benchmarks.reports import write_report
from benchmarks.rounds import say
from webapp.processes import raise_descriptor_limit

SERVERS: dict[str, Callable[[int], LoadServer]] = {"jeton": JetonLoad, "fastapi": FastApiLoad}
IDLE_SECONDS = 30.0


def main(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    options = _options(arguments)
    # So that servers are stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Of the reader, and of the peer: Jeton's web processes raise their own.
    raise_descriptor_limit()
    reader = compile_reader()
    if "fastapi" in options.only:
        FASTAPI.ensure()
    found = LoadResults(
        date=datetime.date.today().isoformat(),
        commit=machine.commit(),
        command=" ".join(["python -m benchmarks.load", *machine.without_output(arguments)]),
        machine=machine.describe(),
        versions={
            "Jeton": machine.own_versions(),
            **({"FastAPI": machine.versions(FASTAPI)} if "fastapi" in options.only else {}),
        },
        seconds=options.seconds,
    )
    for round_number in range(options.rounds):
        for index, load in enumerate(options.streams):
            for name in rotated(options.only, by=round_number + index):
                run = _measure_load(name, load, reader, round_number=round_number, seconds=options.seconds)
                found.runs.append(run)
                say(load_line(run))
    for name in options.only if options.idle else ():
        found.idle.append(_measure_idle(name, reader, connections=options.idle))
        say(idle_line(found.idle[-1]))
    write_report(found, markdown(found), folder=options.output, suffix=_suffix(options))
    return 0 if not any(run.failure for run in (*found.runs, *found.idle)) else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    def loads(text: str) -> list[Load]:
        return [load_of(int(part)) for part in text.split(",") if part]

    def servers(text: str) -> list[str]:
        unknown = set(text.split(",")) - set(SERVERS)
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(SERVERS)}")
        return text.split(",")

    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__, allow_abbrev=False)
    parser.add_argument("--streams", type=loads, help="numbers of streams; 500,2000,3000 unless it says otherwise")
    parser.add_argument("--idle", type=int, help="idle connections, 10000; 0 leaves them out")
    parser.add_argument("--seconds", type=float, help="measured seconds of each run, 10")
    parser.add_argument("--rounds", type=int, help="2 unless it says otherwise")
    parser.add_argument("--only", type=servers, default=list(SERVERS), help=f"of {','.join(SERVERS)}")
    parser.add_argument("--quick", action="store_true", help="one round of 500 streams, 1000 idle connections")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="the folder of the report")
    options = parser.parse_args(arguments)
    options.is_whole = not (options.quick or options.streams or options.idle is not None or options.seconds)
    options.streams = options.streams if options.streams is not None else list(QUICK_LOADS if options.quick else LOADS)
    if options.idle is None:
        options.idle = QUICK_IDLE_CONNECTIONS if options.quick else IDLE_CONNECTIONS
    options.seconds = options.seconds or (5.0 if options.quick else 10.0)
    options.rounds = options.rounds or (1 if options.quick else 2)
    return options


def _measure_load(name: str, load: Load, reader: Path, *, round_number: int, seconds: float) -> LoadRun:
    try:
        return measure_load(SERVERS[name](load.processes), load, reader, round_number=round_number, seconds=seconds)
    except ContenderFailed as error:
        return LoadRun(
            server=name,
            streams=load.streams,
            processes=load.processes,
            round_number=round_number,
            failure=str(error)[:500],
        )


def _measure_idle(name: str, reader: Path, *, connections: int) -> IdleRun:
    run = IdleRun(server=name, connections=connections, processes=IDLE_PROCESSES, seconds=IDLE_SECONDS)
    try:
        measure_idle(SERVERS[name](IDLE_PROCESSES), run, reader)
    except ContenderFailed as error:
        run.failure = str(error)[:500]
    return run


def _suffix(options: argparse.Namespace) -> str:
    """So that a small run does not take the place of a whole one."""
    if options.quick:
        return "-load-quick"
    return "-load" if options.is_whole and set(options.only) == set(SERVERS) else "-load-part"


if __name__ == "__main__":
    raise SystemExit(main())
