"""The metrics in Prometheus' text format: what was counted, and what the pool is like at this moment.

docs/metrics.md says what each one is for. Knows no socket; HTTP is the web's.
"""

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, get_args

from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from webapp.pool.metrics import DURATION_BOUNDS, Histogram, Metrics
from webapp.version import VERSION
from webapp.wire.messages import EngineState, EngineStateName, MetricsText, PoolState

# Samples by the values of their labels.
Samples = Mapping[tuple[str, ...], float]

# An engine's labels.
_POST = ("model", "post")
BUCKET_NAMES = (*map(str, DURATION_BOUNDS), "+Inf")


class JournalState(Protocol):
    """What is shown of the journal."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        ...

    @property
    def unwritten_bytes(self) -> int:
        """Bytes the disk has not taken."""
        ...

    @property
    def unsynced_seconds(self) -> float:
        """How long the oldest bytes have waited that a loss of power would take."""
        ...

    @property
    def is_failing(self) -> bool:
        """Whether it cannot be written, or is too large, and nothing new is accepted."""
        ...


def metrics_text(metrics: Metrics, state: PoolState, *, journal: JournalState, readers: int) -> MetricsText:
    """The answer to the question that `state` answers too.

    `readers` counts, over all generations that live, the web processes that read them.
    """
    text = generate_latest(_Snapshot(metrics, state, journal, readers)).decode()
    return MetricsText(ask=state.ask, content_type=CONTENT_TYPE_LATEST, text=text)


@dataclass(frozen=True)
class _Snapshot(Collector):
    metrics: Metrics
    state: PoolState
    journal: JournalState
    readers: int

    def collect(self) -> Iterator[Metric]:
        yield from self._present_generations()
        yield from self._counted_generations()
        yield from self._tokens()
        yield from self._engines()
        yield from self._journal()
        yield from self._processes()

    def _present_generations(self) -> Iterator[Metric]:
        models, waiting, running = self.metrics.models, self.state.waiting, Counter[str]()
        for engine in self.state.engines:
            running[engine.model] += engine.running
        in_line = {(model,): waiting.get(model, 0) for model in models}
        yield _gauge("jeton_generations_waiting", "Generations in line.", in_line, "model")
        on_engines = {(model,): running[model] for model in models}
        yield _gauge("jeton_generations_running", "Generations on an engine.", on_engines, "model")
        yield _gauge("jeton_readers", "Web processes that read a generation, over all that live.", {(): self.readers})

    def _counted_generations(self) -> Iterator[Metric]:
        models = self.metrics.models.items()
        accepted = {(model,): counts.accepted for model, counts in models}
        yield _counter("jeton_generations_accepted", "Generations taken.", accepted, "model")
        refused = {(code,): count for code, count in self.metrics.refusals.items()}
        yield _counter("jeton_generations_refused", "Generations not taken.", refused, "code")
        ended = {(model, end): count for model, counts in models for end, count in counts.ends.items()}
        yield _counter("jeton_generations_ended", "Generations that have ended.", ended, "model", "end")
        failed = {(model, code): count for model, counts in models for code, count in counts.failures.items()}
        yield _counter("jeton_generations_failed", "Those that ended with an error.", failed, "model", "code")
        aborted = {(model, cause): count for model, counts in models for cause, count in counts.abort_causes.items()}
        yield _counter("jeton_generations_aborted", "Those that were aborted.", aborted, "model", "cause")
        given_again = {(model,): counts.redispatches for model, counts in models}
        yield _counter("jeton_redispatches", "Times a generation's engine was lost under it.", given_again, "model")
        put_back = {(model,): counts.preemptions for model, counts in models}
        yield _counter("jeton_preemptions", "Times a generation gave its place to another.", put_back, "model")
        late = {(): self.metrics.late_events}
        yield _counter("jeton_late_events", "Events under an old lease, which were left out.", late)

    def _tokens(self) -> Iterator[Metric]:
        models = self.metrics.models.items()
        prompt = {(model,): counts.prompt_tokens for model, counts in models}
        yield _counter("jeton_prompt_tokens", "Tokens of prompts.", prompt, "model")
        completion = {(model,): counts.completion_tokens for model, counts in models}
        yield _counter("jeton_completion_tokens", "Tokens that engines have made.", completion, "model")
        queue_time = {model: counts.queue_time for model, counts in models}
        yield _histogram("jeton_queue_time_seconds", "From acceptance to an engine.", queue_time)
        first_token = {model: counts.time_to_first_token for model, counts in models}
        yield _histogram("jeton_time_to_first_token_seconds", "From acceptance to the first token.", first_token)
        latency = {model: counts.inter_token_latency for model, counts in models}
        yield _histogram("jeton_inter_token_latency_seconds", "Between two tokens of a generation.", latency)

    def _engines(self) -> Iterator[Metric]:
        posts = self._posts()
        states = {
            (model, post, name): engine.state == name
            for (model, post), engine in posts.items()
            for name in get_args(EngineStateName)
        }
        yield _gauge("jeton_engine_state", "1 for the state the engine is in.", states, *_POST, "state")
        loaded = {post: engine.load_fraction for post, engine in posts.items()}
        yield _gauge("jeton_engine_loaded_ratio", "How much of the model is loaded.", loaded, *_POST)
        running = {post: engine.running for post, engine in posts.items()}
        yield _gauge("jeton_engine_running", "Generations on this engine.", running, *_POST)
        slots = {post: engine.capacity for post, engine in posts.items()}
        yield _gauge("jeton_engine_slots", "Generations it can run at once.", slots, *_POST)
        memory = {post: engine.memory_bytes for post, engine in posts.items()}
        yield _gauge("jeton_engine_memory_bytes", "Weights and cache.", memory, *_POST)
        taken = {post: engine.taken_bytes for post, engine in posts.items()}
        yield _gauge("jeton_engine_taken_bytes", "What it counts against its device's budget.", taken, *_POST)
        restarts = {post: engine.restarts for post, engine in posts.items()}
        yield _counter("jeton_engine_restarts", "Processes lost on this post.", restarts, *_POST)
        devices = {(*post, engine.device, engine.precision): 1 for post, engine in posts.items()}
        yield _gauge("jeton_engine_info", "1; where the engine runs.", devices, *_POST, "device", "precision")
        memories = self.state.memories
        budgets = {(each.device,): each.budget_bytes for each in memories if each.budget_bytes is not None}
        yield _gauge("jeton_memory_budget_bytes", "What all engines may take together.", budgets, "device")
        sums = {(each.device,): each.taken_bytes for each in memories}
        yield _gauge("jeton_memory_taken_bytes", "What all engines count against it.", sums, "device")

    def _posts(self) -> dict[tuple[str, str], EngineState]:
        """Engines by model and by their number in it, which stays while processes come and go."""
        numbers = Counter[str]()
        posts: dict[tuple[str, str], EngineState] = {}
        for engine in self.state.engines:
            numbers[engine.model] += 1
            posts[engine.model, str(numbers[engine.model])] = engine
        return posts

    def _journal(self) -> Iterator[Metric]:
        journal = self.journal
        yield _gauge("jeton_journal_bytes", "Bytes of all its files.", {(): journal.size})
        yield _gauge("jeton_journal_unwritten_bytes", "Bytes the disk has not taken.", {(): journal.unwritten_bytes})
        unsynced = {(): journal.unsynced_seconds}
        yield _gauge("jeton_journal_unsynced_seconds", "What a loss of power would take.", unsynced)
        yield _gauge("jeton_journal_failing", "1 while nothing new is accepted.", {(): journal.is_failing})

    def _processes(self) -> Iterator[Metric]:
        web_processes = {(): len(self.state.web_processes)}
        yield _gauge("jeton_web_processes", "Web processes that the pool hears.", web_processes)
        lost = {(): self.metrics.web_processes_lost}
        yield _counter("jeton_web_processes_lost", "Web processes that fell silent.", lost)
        yield _gauge(
            "jeton_pool_info", "The pool process; a new one has a new epoch.", {(self.state.epoch,): 1}, "epoch"
        )
        build = {(VERSION, platform.python_version()): 1}
        yield _gauge("jeton_build_info", "What runs here.", build, "version", "python_version")
        yield from ProcessCollector(namespace="jeton_pool", registry=None).collect()


def _gauge(name: str, documentation: str, samples: Samples, *labels: str) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for values, sample in samples.items():
        family.add_metric(values, sample)
    return family


def _counter(name: str, documentation: str, samples: Samples, *labels: str) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, sample in samples.items():
        family.add_metric(values, sample)
    return family


def _histogram(name: str, documentation: str, histograms: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=("model",))
    for model, histogram in histograms.items():
        buckets = list(zip(BUCKET_NAMES, accumulate(histogram.counts), strict=True))
        family.add_metric((model,), buckets, histogram.sum)
    return family
