"""Interleaved rounds: in each, every configuration, and in each of those every contender, one at a time."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from benchmarks.contenders.contender import Contender, ContenderFailed
from benchmarks.plan import MAX_TOKENS, WARM_UP_TOKENS, Configuration, rotated
from benchmarks.processes import OutsideLoad
from benchmarks.prompts import PromptMaker
from benchmarks.results import ContenderResult, Results, RunResult
from benchmarks.streams import figures


@contextmanager
def started(
    contenders: Sequence[Contender], results: Results, *, starts: int, idle_seconds: float = 3.0
) -> Iterator[dict[str, Contender]]:
    """All that start, by name, timed; each paused. Those that do not are noted, and left out.

    For `idle_seconds` each is watched doing nothing.
    """
    running: dict[str, Contender] = {}
    try:
        for contender in contenders:
            try:
                seconds = _start(contender, starts=starts, idle_seconds=idle_seconds)
            except ContenderFailed as error:
                note(results, f"{contender.name} did not start: {error}")
                continue
            say(f"{contender.name}: ready after {median(seconds):.1f} s")
            results.contenders.append(
                ContenderResult(
                    name=contender.name,
                    title=contender.title,
                    precision=contender.precision,
                    is_http=contender.is_http,
                    start_seconds=seconds,
                    idle_cores=_idle_cores(contender, seconds=idle_seconds),
                )
            )
            contender.pause()
            running[contender.name] = contender
        yield running
    finally:
        for contender in contenders:
            contender.stop()


def measure(
    running: dict[str, Contender],
    configurations: Sequence[Configuration],
    results: Results,
    *,
    rounds: int,
    prompt_maker: PromptMaker,
    max_tokens: int = MAX_TOKENS,
) -> None:
    """Add the figures of every round to the results."""
    warm: set[tuple[str, str]] = set()
    for round_number in range(rounds):
        for index, configuration in enumerate(configurations):
            for name in rotated(list(running), by=round_number + index):
                contender = running[name]
                if not contender.takes(configuration, round_number):
                    continue
                contender.resume()
                try:
                    if (name, configuration.name) not in warm:
                        _warm_up(contender, configuration, prompt_maker)
                        warm.add((name, configuration.name))
                    run = _run(contender, configuration, round_number, prompt_maker, max_tokens=max_tokens)
                except ContenderFailed as error:
                    run = _failed(contender, configuration, round_number, error)
                finally:
                    _note_memory(contender, results)
                    contender.pause()
                results.runs.append(run)
                say(_line(run))


def _start(contender: Contender, *, starts: int, idle_seconds: float) -> list[float]:
    """The seconds of so many starts; it is running after the last."""
    seconds: list[float] = []
    for _ in range(starts):
        contender.stop()
        seconds.append(contender.start())
    # Some compile for a while after they have begun to answer.
    contender.group.wait_until_quiet(seconds=idle_seconds)
    return seconds


def _idle_cores(contender: Contender, *, seconds: float) -> float:
    before = contender.group.cpu_seconds
    time.sleep(seconds)
    return (contender.group.cpu_seconds - before) / seconds


def _warm_up(contender: Contender, configuration: Configuration, prompt_maker: PromptMaker) -> None:
    prompts = prompt_maker.make(f"warm-up/{configuration.name}", configuration.streams, length=configuration.length)
    contender.run(prompts, configuration, max_tokens=WARM_UP_TOKENS)
    contender.group.wait_until_quiet(seconds=0.5, timeout=120.0)


def _run(
    contender: Contender,
    configuration: Configuration,
    round_number: int,
    prompt_maker: PromptMaker,
    *,
    max_tokens: int,
) -> RunResult:
    key = f"{configuration.name}/{round_number}"
    prompts = prompt_maker.make(key, configuration.streams, length=configuration.length)
    with OutsideLoad(contender.group) as load:
        streams = contender.run(prompts, configuration, max_tokens=max_tokens)
    try:
        found = figures(streams, max_tokens=max_tokens)
    except ValueError as error:
        raise ContenderFailed(f"{contender.name}: {error}") from error
    return RunResult(
        round_number=round_number,
        configuration=configuration.name,
        contender=contender.name,
        figures=found,
        outside_share=load.share,
    )


def _failed(contender: Contender, configuration: Configuration, round_number: int, error: ContenderFailed) -> RunResult:
    return RunResult(
        round_number=round_number, configuration=configuration.name, contender=contender.name, failure=str(error)[:500]
    )


def _note_memory(contender: Contender, results: Results) -> None:
    found = results.contender(contender.name)
    if found:
        found.pss_bytes = max(found.pss_bytes, contender.group.pss_bytes)


def _line(run: RunResult) -> str:
    start = f"round {run.round_number + 1}  {run.configuration:18} {run.contender:24}"
    if run.figures is None:
        return f"{start} FAILED: {run.failure}"
    found = run.figures
    warning = f"  others took {run.outside_share:.0%} of the processor" if run.outside_share > 0.15 else ""
    return (
        f"{start} {found.tokens_per_second:7.1f} tokens/s, first token {found.time_to_first_token_median:6.2f} s"
        f" (p95 {found.time_to_first_token_p95:.2f}), complete {found.complete_share:.0%}{warning}"
    )


def note(results: Results, line: str) -> None:
    """Print it, and keep it for the report."""
    results.notes.append(line)
    say(line)


def say(line: str) -> None:
    print(line, flush=True)
