"""What is measured: how many streams or idle connections, on how many web processes, and what we want to find there."""

import json
from dataclasses import dataclass

MODEL = "@jeton/load"
TOKENS_PER_SECOND = 20
# From the first token to the first that is measured: what the beginning has stirred up is over.
SETTLE_SECONDS = 2.0
# Tokens go on for so long after the last that is measured: the end of a stream disturbs no other's.
TAIL_SECONDS = 1.5
# Streams begin at so many moments of each 50 ms, not all at once; the scripted engine makes one step of what is due
# within 20 ms.
PHASES = 10
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Load:
    """So many streams at 20 tokens a second each. `wanted_p99` is the most we want the delay to be, in seconds."""

    streams: int
    processes: int
    wanted_p99: float | None = None

    @property
    def name(self) -> str:
        return f"{self.streams:,} streams, {self.processes} web process{'es' if self.processes > 1 else ''}"


# The last is the figure of a release: what one machine of two cores carries at all.
LOADS = (Load(500, 1, wanted_p99=0.050), Load(2000, 2, wanted_p99=0.250), Load(3000, 2, wanted_p99=0.250))
QUICK_LOADS = LOADS[:1]
IDLE_CONNECTIONS = 10_000
QUICK_IDLE_CONNECTIONS = 1000
IDLE_PROCESSES = 2


@dataclass(frozen=True)
class Schedule:
    """When one stream's tokens come: the first at `begin_at`, CLOCK_MONOTONIC in nanoseconds."""

    begin_at: int
    tokens: int

    def script(self, now: int) -> str:
        """The scripted engine's prompt for a generation that starts now."""
        return json.dumps(
            {
                "stamps": True,
                "tokens": self.tokens,
                "step_seconds": 1 / TOKENS_PER_SECOND,
                "prefill_seconds": max(0, self.begin_at - now) / NANOSECONDS,
            }
        )


def load_of(streams: int) -> Load:
    """Of any number of streams; where nothing is wanted of it, on two web processes where they are more than 500."""
    return next((load for load in LOADS if load.streams == streams), Load(streams, 1 if streams <= 500 else 2))


def ramp_seconds(streams: int) -> float:
    """From the first submission to the first token: enough to submit and connect all of them."""
    return 3.0 + streams * 0.004


def schedules(count: int, *, begin_at: int, seconds: float) -> list[Schedule]:
    """Streams that begin then and last so long."""
    step = NANOSECONDS // TOKENS_PER_SECOND
    tokens = round(seconds * TOKENS_PER_SECOND)
    return [Schedule(begin_at + step * (index % PHASES) // PHASES, tokens) for index in range(count)]
