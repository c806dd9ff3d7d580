"""What we want of a GPU, and whether a run found it. Arithmetic only."""

from dataclasses import dataclass
from statistics import median

from benchmarks.gpu.results import GpuResults

# All for an H200 and the shape of Llama-2 7B.
SHARE_OF_BANDWIDTH = 0.70
INT8_OVER_FP16 = 1.0
OVER_PEER = 1.0
PEER_STREAMS = 64
FIRST_TOKEN_SECONDS = 0.060

# The peer, and who of us is compared with it: like with like, through HTTP or not.
_PEERS = (("transformers-serve", "server-fp16"), ("batching-manager", "engine-fp16"))


@dataclass(frozen=True)
class Goal:
    """`found` is None where it was not measured. `is_at_most`: less is better."""

    what: str
    wanted: float
    found: float | None
    form: str
    is_at_most: bool = False

    @property
    def is_met(self) -> bool | None:
        if self.found is None:
            return None
        return self.found <= self.wanted if self.is_at_most else self.found >= self.wanted


def goals(found: GpuResults) -> list[Goal]:
    """Each, also those that were not measured."""
    return [
        Goal(
            "fp16, one stream, engine alone: share of bandwidth / weight bytes",
            SHARE_OF_BANDWIDTH,
            share_of_bandwidth(found, "engine-fp16"),
            ".0%",
        ),
        Goal(
            "int8 over fp16, one stream, engine alone: tokens/s after the first",
            INT8_OVER_FP16,
            _ratio(decode_rate(found, "engine-int8"), decode_rate(found, "engine-fp16")),
            ".2f",
        ),
        _over_peer(found),
        Goal(
            "first token of a prompt of about 500 tokens, idle server, fp16, median, seconds",
            FIRST_TOKEN_SECONDS,
            next((median(first.seconds) for first in found.first_tokens if first.contender == "server-fp16"), None),
            ".3f",
            is_at_most=True,
        ),
    ]


def decode_rate(found: GpuResults, contender: str, streams: int = 1) -> float | None:
    """Tokens a second of the median stream after its first, the median over the rounds of the short texts."""
    return figure(found, contender, streams, "tokens_per_second_per_stream")


def share_of_bandwidth(found: GpuResults, contender: str) -> float | None:
    """One stream's tokens a second, over what reading the weights for each token allows."""
    measured, rate = found.contender(contender), decode_rate(found, contender)
    if not (found.bandwidth and measured and rate):
        return None
    return rate * found.shape.bytes_read[measured.variant] / found.bandwidth.bytes_per_second


def figure(found: GpuResults, contender: str, streams: int, name: str) -> float | None:
    """The median over the rounds of the load of short texts with so many streams."""
    load = next((run.load for run in found.runs if run.streams == streams and run.load in short_loads(found)), None)
    return figure_of(found, contender, load, name) if load else None


def figure_of(found: GpuResults, contender: str, load: str, name: str) -> float | None:
    """The median over the rounds; None where there is none."""
    values = [
        getattr(run.figures, name)
        for run in found.runs
        if run.contender == contender and run.load == load and run.figures
    ]
    return median(values) if values else None


def short_loads(found: GpuResults) -> list[str]:
    """The loads that differ in their streams only, without those of the published limits."""
    return list(dict.fromkeys(run.load for run in found.runs if not run.is_limit))


def _over_peer(found: GpuResults) -> Goal:
    for peer, ours in _PEERS:
        ratio = _ratio(
            figure(found, ours, PEER_STREAMS, "tokens_per_second"),
            figure(found, peer, PEER_STREAMS, "tokens_per_second"),
        )
        if ratio is not None:
            break
    else:
        peer, ours, ratio = *_PEERS[0], None
    return Goal(f"{PEER_STREAMS} streams: tokens/s of {ours} over {peer}", OVER_PEER, ratio, ".2f")


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None
