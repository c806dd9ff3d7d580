"""Jeton and the peer under the same load, as medians over the rounds. Arithmetic only."""

from collections.abc import Sequence
from statistics import median

from benchmarks.load.plan import Load, load_of
from benchmarks.load.results import LoadResults, LoadRun

FIGURES = ("p50, ms", "p99, ms", "events/s", "web, cores", "web, µs an event", "all, cores", "web, kB a stream")


def loads(found: LoadResults) -> list[Load]:
    """Those that were measured."""
    return [load_of(streams) for streams in dict.fromkeys(run.streams for run in found.runs)]


def whole_runs(found: LoadResults, server: str, load: Load) -> list[LoadRun]:
    """Those in which every stream came whole."""
    return [run for run in found.runs if run.server == server and run.streams == load.streams and not run.failure]


def compared(found: LoadResults) -> list[tuple[Load, list[float], list[float]]]:
    """For each load that both have carried, the FIGURES of Jeton and of the peer."""
    pairs = [(load, whole_runs(found, "jeton", load), whole_runs(found, "fastapi", load)) for load in loads(found)]
    return [(load, _figures(ours), _figures(peers)) for load, ours, peers in pairs if ours and peers]


def _figures(runs: Sequence[LoadRun]) -> list[float]:
    readings = [run.readings for run in runs if run.readings]
    rate = median(run.events_per_second for run in runs)
    web = median(run.cores["web"] for run in runs)
    return [
        median(each.p50 for each in readings) * 1000,
        median(each.p99 for each in readings) * 1000,
        rate,
        web,
        web / rate * 1e6 if rate else 0.0,
        median(sum(run.cores[role] for role in ("web", "pool", "engine")) for run in runs),
        median(run.bytes_per_stream for run in runs) / 1000,
    ]
