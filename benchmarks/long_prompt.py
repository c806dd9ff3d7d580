"""How much running streams feel a long prompt: the 99th percentile of their gaps, without one and beside one."""

from statistics import median

from benchmarks.contenders.contender import ContenderFailed, HttpContender
from benchmarks.plan import Configuration
from benchmarks.prompts import PromptMaker
from benchmarks.results import LongPromptResult
from benchmarks.streams import StreamResult, percentile

STREAMS = 8
# Stories end when they end; with fewer the long prompt would have an easier time.
_FEWEST_RUNNING = 6
_RUNNING = Configuration(STREAMS, "short", is_sampled=True)
# Long enough that the streams still run when the long prompt has been read.
_TOKENS = 384
# The long prompt comes in after this part of the time the streams take undisturbed.
_SENT_AFTER = 0.2


def measure_long_prompt(
    contender: HttpContender, prompt_maker: PromptMaker, *, rounds: int, tokens: int = _TOKENS
) -> LongPromptResult:
    """The median of some rounds. Raises ContenderFailed."""
    found = [_round(contender, prompt_maker, round_number, tokens=tokens) for round_number in range(rounds)]
    return LongPromptResult(
        contender=contender.name,
        streams=STREAMS,
        prompt_tokens=found[0][2].prompt_tokens,
        quiet_p99=median(quiet for quiet, _, _ in found),
        beside_p99=median(beside for _, beside, _ in found),
        time_to_first_token=median(long.time_to_first_token for _, _, long in found),
    )


def _round(
    contender: HttpContender, prompt_maker: PromptMaker, round_number: int, *, tokens: int
) -> tuple[float, float, StreamResult]:
    """The 99th percentile undisturbed, that while the long prompt is read, and the long prompt's own stream."""
    prompts = prompt_maker.make(f"quiet/{round_number}", STREAMS, length="short")
    quiet = contender.run(prompts, _RUNNING, max_tokens=tokens)
    if not all(stream.times for stream in quiet):
        raise ContenderFailed(f"{contender.name}: a stream brought no text")
    seconds = min(stream.times[-1] for stream in quiet) - quiet[0].started_at
    prompts = [
        *prompt_maker.make(f"beside/{round_number}", STREAMS, length="short"),
        *prompt_maker.make(f"book/{round_number}", 1, length="book"),
    ]
    delays = [0.0] * STREAMS + [seconds * _SENT_AFTER]
    *beside, long = contender.run(prompts, _RUNNING, max_tokens=tokens, delays=delays)
    if not long.times:
        raise ContenderFailed(f"{contender.name}: the long prompt brought no text")
    running = sum(stream.times[-1] > long.times[0] for stream in beside if stream.times)
    if running < _FEWEST_RUNNING:
        raise ContenderFailed(f"{contender.name}: only {running} streams ran until the long prompt had been read")
    return _p99_of_all_running(quiet), _p99(beside, after=long.started_at, before=long.times[0]), long


def _p99_of_all_running(streams: list[StreamResult]) -> float:
    """While all of them run: at the start prompts are read, at the end some are through."""
    return _p99(
        streams, after=max(stream.times[0] for stream in streams), before=min(stream.times[-1] for stream in streams)
    )


def _p99(streams: list[StreamResult], *, after: float, before: float) -> float:
    """Of the gaps that overlap the time from `after` to `before`."""
    gaps = [
        end - begin
        for stream in streams
        for begin, end in zip(stream.times, stream.times[1:], strict=False)
        if end > after and begin < before
    ]
    if not gaps:
        raise ContenderFailed("no stream ran while the long prompt was read")
    return percentile(gaps, 99)
