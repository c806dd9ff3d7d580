"""The load benchmark: a small load on a real Jeton, the peer's line to a real engine, and the report."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from benchmarks.environments import PROJECT_FOLDER
from benchmarks.load.jeton import JetonLoad
from benchmarks.load.measure import measure_load
from benchmarks.load.peer.engine_line import EngineLine
from benchmarks.load.plan import Load, Schedule, load_of, schedules
from benchmarks.load.reader import Readings, compile_reader
from benchmarks.load.report import markdown
from benchmarks.load.results import IdleRun, LoadResults, LoadRun
from benchmarks.load.server import write_catalog
from webapp.wire.generation import Delta, Finished


def test_small_load_comes_whole_and_every_process_is_accounted_for() -> None:
    run = measure_load(JetonLoad(1), Load(streams=12, processes=1), compile_reader(), round_number=0, seconds=1.0)

    assert run.readings
    assert (run.readings.complete, run.readings.gaps, run.readings.repeats) == (12, 0, 0)
    assert 0 < run.readings.measured < run.readings.events
    assert 0 < run.readings.p50 <= run.readings.p99
    assert set(run.cores) == {"web", "pool", "engine", "other", "reader", "background"}


def test_peers_line_brings_an_engines_events_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETON_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JETON_MODELS_FILE", str(write_catalog(tmp_path, engines=1)))
    monkeypatch.setenv("ENGINE_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_FOLDER))

    async def read() -> list[object]:
        line = EngineLine()
        script = Schedule(begin_at=0, tokens=3).script(time.monotonic_ns())
        async with line.running():
            with line.generation(script, max_tokens=10) as queue:
                return [await queue.get() for _ in range(4)]

    events = asyncio.run(read())

    assert [type(event) for event in events] == [Delta, Delta, Delta, Finished]


def test_schedules_begin_within_one_step_and_last_equally_long() -> None:
    planned = schedules(100, begin_at=10**9, seconds=2.0)

    assert {schedule.tokens for schedule in planned} == {40}
    assert {(schedule.begin_at - 10**9) // 10**6 for schedule in planned} == set(range(0, 50, 5))


READINGS = Readings(
    connected=500,
    complete=500,
    failed=0,
    events=1000,
    gaps=0,
    repeats=0,
    comments=0,
    reads=500,
    measured=900,
    p50=0.003,
    p90=0.004,
    p99=0.020,
    p999=0.030,
    longest=0.040,
    failure="",
)
CORES = {"web": 0.5, "pool": 0.1, "engine": 0.1, "reader": 0.1, "background": 0.4}


def results(**changes: object) -> LoadResults:
    runs = [
        LoadRun(
            server=server,
            streams=500,
            processes=1,
            round_number=0,
            readings=READINGS,
            events_per_second=10_000.0,
            cores=CORES,
            web_bytes=500 * 40_000,
        )
        for server in ("jeton", "fastapi")
    ]
    return LoadResults(
        date="2026-01-01", commit="abc", command="c", machine={"processor": "x"}, seconds=5.0, runs=runs, **changes
    )


def test_report_says_what_was_wanted_and_whether_it_was_found() -> None:
    idle = IdleRun(
        server="jeton", connections=1000, processes=2, seconds=1.0, web_bytes=20_000_000, cores=CORES, health_p99=0.01
    )

    text = markdown(results(idle=[idle]))

    assert "| 500 streams, 1 web process: delay, p99 | < 50 ms | 20 ms | yes |" in text
    assert "| 500 streams, 1 web process: web memory a stream | < 35 kB | 40 kB | **no** |" in text
    assert "| 1,000 idle connections: web memory each | < 25 kB | 20 kB | yes |" in text
    assert "| 1,000 idle connections: web processes | < 0.25 cores | 0.5 cores | **no** |" in text


def test_report_sets_ours_beside_the_peers_and_marks_disturbed_runs() -> None:
    text = markdown(results())

    assert "| 500 streams, 1 web process | ratio | 1.00 × |" in text
    assert "0.40 † |" in text


def test_run_that_failed_is_told_and_counts_for_nothing() -> None:
    found = results()
    found.runs[0].failure = "not every stream came whole"

    text = markdown(found)

    assert "## Failed" in text
    assert "Beside the peer" not in text
    assert "Wanted and found" not in text


def test_load_of_which_nothing_is_wanted_runs_on_two_web_processes_where_it_is_large() -> None:
    assert [load_of(streams).processes for streams in (100, 500, 501, 3000)] == [1, 1, 2, 2]
