"""What the pool counts: generations, tokens, durations, losses. Knows no socket and no format.

`made` is called for every token of every stream, up to 60,000 times a second: plain numbers and one bisection,
where prometheus_client's own histogram takes a lock and a loop over its buckets.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from webapp.pool.generation_log import Generation
from webapp.wire.generation import Delta, Failed, Finished, Started

# In seconds: from a step of a fast engine to a reader who waits for a model to load.
DURATION_BOUNDS = (
    *(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0),
)


class Histogram:
    """How many durations fell between which bounds. A bucket holds its upper bound; the last one has none."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        self.counts[bisect_left(DURATION_BOUNDS, seconds)] += times
        self.sum += seconds * times


@dataclass
class ModelMetrics:
    """What is counted for one model. `ends` are finish reasons, and "failed"; every name is there from the start."""

    accepted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    redispatches: int = 0
    preemptions: int = 0
    ends: Counter[str] = field(default_factory=lambda: Counter(stop=0, length=0, abort=0, failed=0))
    abort_causes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    queue_time: Histogram = field(default_factory=Histogram)
    time_to_first_token: Histogram = field(default_factory=Histogram)
    inter_token_latency: Histogram = field(default_factory=Histogram)


class Metrics:
    """All counts since this pool started. `models` are those whose series begin at zero, before anything happens.

    Each method is called before the generation itself takes note of what has happened.
    """

    def __init__(self, models: Iterable[str]) -> None:
        # By a catalogue entry's name, never by what a client typed: each makes series of its own.
        self.models = defaultdict(ModelMetrics, {model: ModelMetrics() for model in models})
        self.refusals = Counter[str]()
        self.late_events = 0
        self.web_processes_lost = 0

    def accepted(self, generation: Generation) -> None:
        """It stands in line."""
        self._of(generation).accepted += 1

    def refused(self, code: str) -> None:
        """A generation was not taken."""
        self.refusals[code] += 1

    def dispatched(self, generation: Generation, now: float) -> None:
        """An engine is given it."""
        if generation.dispatched_at is None:
            self._of(generation).queue_time.observe(now - generation.accepted_at)

    def started(self, generation: Generation, event: Started) -> None:
        """An engine reads its prompt."""
        if not generation.is_probe and not generation.prompt_tokens:
            self._of(generation).prompt_tokens += event.prompt_tokens

    def made(self, generation: Generation, delta: Delta, now: float) -> None:
        """An engine has made these tokens of it. Those that come together share the time since the last."""
        if generation.is_probe:
            return
        counts = self.models[generation.submit.request.model]
        token_count = len(delta.token_ids)
        counts.completion_tokens += token_count
        if generation.last_token_at is None:
            counts.time_to_first_token.observe(now - generation.accepted_at)
        elif token_count:
            counts.inter_token_latency.observe((now - generation.last_token_at) / token_count, token_count)

    def redispatched(self, generation: Generation) -> None:
        """Its engine was lost, and it waits for another one."""
        self._of(generation).redispatches += 1

    def preempted(self, generation: Generation) -> None:
        """It gave its place to one of a client who runs fewer, and waits again."""
        self._of(generation).preemptions += 1

    def aborted(self, generation: Generation, cause: str) -> None:
        """It is to end with "abort", for this cause."""
        self._of(generation).abort_causes[cause] += 1

    def ended(self, generation: Generation, event: Finished | Failed) -> None:
        """It has ended."""
        counts = self._of(generation)
        if isinstance(event, Failed):
            counts.ends["failed"] += 1
            counts.failures[event.code] += 1
        else:
            counts.ends[event.finish_reason] += 1

    def fenced(self, count: int) -> None:
        """So many events came under a lease that is no longer the generation's, and were left out."""
        self.late_events += count

    def web_process_lost(self) -> None:
        """A web process has fallen silent, or does not take messages."""
        self.web_processes_lost += 1

    def _of(self, generation: Generation) -> ModelMetrics:
        return self.models[generation.submit.request.model]
