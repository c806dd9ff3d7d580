"""What is wanted of Jeton under load, and whether a run has it. Arithmetic only."""

from dataclasses import dataclass
from statistics import median

from benchmarks.load.comparison import loads, whole_runs
from benchmarks.load.results import LoadResults

WANTED_BYTES_PER_STREAM = 35_000
WANTED_IDLE_BYTES = 25_000
WANTED_IDLE_CORES = 0.25
WANTED_HEALTH_SECONDS = 0.1


@dataclass(frozen=True)
class Verdict:
    """`found` is to be less than `wanted`."""

    what: str
    wanted: float
    found: float
    unit: str

    @property
    def is_met(self) -> bool:
        return self.found < self.wanted


def verdicts(found: LoadResults) -> list[Verdict]:
    """Of everything that was measured and of which something is wanted."""
    return [*_of_loads(found), *_of_idle(found)]


def _of_loads(found: LoadResults) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for load in loads(found):
        runs = whole_runs(found, "jeton", load)
        delays = [run.readings.p99 for run in runs if run.readings]
        if load.wanted_p99 and delays:
            verdicts.append(Verdict(f"{load.name}: delay, p99", load.wanted_p99 * 1000, median(delays) * 1000, "ms"))
        if runs:
            memory = median(run.bytes_per_stream for run in runs)
            wanted = WANTED_BYTES_PER_STREAM / 1000
            verdicts.append(Verdict(f"{load.name}: web memory a stream", wanted, memory / 1000, "kB"))
    return verdicts


def _of_idle(found: LoadResults) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for run in found.idle:
        if run.server != "jeton" or run.failure:
            continue
        name = f"{run.connections:,} idle connections"
        each = run.bytes_per_connection / 1000
        verdicts += [
            Verdict(f"{name}: web memory each", WANTED_IDLE_BYTES / 1000, each, "kB"),
            Verdict(f"{name}: web processes", WANTED_IDLE_CORES, run.cores["web"], "cores"),
            Verdict(f"{name}: /healthz, p99", WANTED_HEALTH_SECONDS * 1000, run.health_p99 * 1000, "ms"),
        ]
    return verdicts
