"""One stream as its reader saw it, and what many of them come to. Arithmetic only; seconds throughout."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import msgspec


class StreamResult(msgspec.Struct, frozen=True):
    """`times` are the moments at which a piece of text reached the reader, on the machine's monotonic clock."""

    started_at: float
    times: list[float]
    prompt_tokens: int
    completion_tokens: int
    text: str = ""

    @property
    def time_to_first_token(self) -> float:
        return self.times[0] - self.started_at

    @property
    def decode_rate(self) -> float | None:
        """Tokens a second after the first; None where there is no second."""
        seconds = self.times[-1] - self.times[0]
        return (self.completion_tokens - 1) / seconds if self.completion_tokens > 1 and seconds > 0 else None

    @property
    def gaps(self) -> list[float]:
        """Between one piece of text and the next."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


@dataclass(frozen=True)
class Figures:
    """What one run of some streams at once comes to."""

    tokens_per_second: float
    tokens_per_second_per_stream: float
    time_to_first_token_median: float
    time_to_first_token_p95: float
    inter_token_p50: float
    inter_token_p99: float
    complete_share: float
    completion_tokens: int
    prompt_tokens: float
    seconds: float


def figures(streams: Sequence[StreamResult], *, max_tokens: int) -> Figures:
    """The total counts from the first request to the last piece of text, the reading of the prompts included."""
    answered = [stream for stream in streams if stream.times]
    if not answered:
        raise ValueError("no stream brought any text")
    seconds = max(stream.times[-1] for stream in answered) - min(stream.started_at for stream in streams)
    tokens = sum(stream.completion_tokens for stream in streams)
    rates = [rate for stream in answered if (rate := stream.decode_rate)]
    first = [stream.time_to_first_token for stream in answered]
    gaps = [gap for stream in answered for gap in stream.gaps] or [0.0]
    return Figures(
        tokens_per_second=tokens / seconds,
        tokens_per_second_per_stream=median(rates) if rates else 0.0,
        time_to_first_token_median=median(first),
        time_to_first_token_p95=percentile(first, 95),
        inter_token_p50=percentile(gaps, 50),
        inter_token_p99=percentile(gaps, 99),
        complete_share=sum(stream.completion_tokens >= max_tokens for stream in streams) / len(streams),
        completion_tokens=tokens,
        prompt_tokens=median(stream.prompt_tokens for stream in streams),
        seconds=seconds,
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Between the two nearest of the ordered values, as numpy's default has it."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
