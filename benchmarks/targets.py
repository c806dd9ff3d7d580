"""What we want to reach beside the peers, and whether a run did. Arithmetic only."""

from dataclasses import dataclass
from statistics import median

from benchmarks.results import Results


@dataclass(frozen=True)
class Target:
    """Our figure over the peer's, in one configuration, is at least (or at most) `wanted`."""

    peer: str
    configuration: str
    wanted: float
    figure: str = "tokens_per_second"
    is_at_most: bool = False
    ours: str = "jeton"


@dataclass(frozen=True)
class Verdict:
    """`ratio` is None where one of the two was not measured."""

    target: Target
    ratio: float | None

    @property
    def is_met(self) -> bool | None:
        if self.ratio is None:
            return None
        return self.ratio <= self.target.wanted if self.target.is_at_most else self.ratio >= self.target.wanted


TARGETS = (
    Target("transformers-serve", "sampled/short/1", 3.0),
    Target("transformers-serve", "sampled/short/16", 1.5),
    Target("llama-cpp-server", "sampled/short/1", 0.8),
    Target("llama-cpp-server", "sampled/short/4", 1.5),
    Target("llama-cpp-server", "sampled/short/16", 1.5),
    Target("llama-cpp-server", "sampled/short/16", 0.2, figure="time_to_first_token_p95", is_at_most=True),
    Target("llama-batch-q4_1", "sampled/short/1", 0.8),
    Target("llama-batch-q4_1", "sampled/short/4", 1.1),
    Target("llama-batch-q4_1", "sampled/short/16", 1.1),
    Target("llama-batch-q4_1", "sampled/long/16", 1.8),
)
# Beside a long prompt, the gaps of running streams grow at most so many times.
LONG_PROMPT_TARGET = 3.0


def figure_of(results: Results, contender: str, configuration: str, figure: str) -> float | None:
    """The median over the rounds; None where there is none."""
    found = [
        getattr(run.figures, figure)
        for run in results.runs
        if run.contender == contender and run.configuration == configuration and run.figures
    ]
    return median(found) if found else None


def ratio_of(results: Results, target: Target) -> float | None:
    ours = figure_of(results, target.ours, target.configuration, target.figure)
    theirs = figure_of(results, target.peer, target.configuration, target.figure)
    return ours / theirs if ours is not None and theirs else None


def verdicts(results: Results) -> list[Verdict]:
    return [Verdict(target, ratio_of(results, target)) for target in TARGETS]
