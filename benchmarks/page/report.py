"""The page's benchmark as a text: what is wanted and found, then every visit."""

import statistics
from collections.abc import Sequence

from benchmarks.page.answers import TOKENS
from benchmarks.page.results import PageResults
from benchmarks.page.visits import SLOWER, TOKENS_PER_SECOND, AnswerVisit, LoadVisit
from benchmarks.report import table

WANTED_BYTES = 60_000
WANTED_FIRST_PAINT = 1.0
WANTED_LONGEST_TASK = 0.1


def markdown(found: PageResults) -> str:
    """The whole report."""
    return "\n\n".join([_head(found), _wanted(found), _loads(found.loads), _answers(found.answers)]) + "\n"


def load_line(visit: LoadVisit) -> str:
    """One load, as it is printed."""
    return (
        f"{visit.path:10} first paint {visit.first_paint * 1000:.0f} ms, {visit.requests} requests, "
        f"{visit.bytes / 1000:.1f} kB, script and style {_code_bytes(visit) / 1000:.1f} kB"
    )


def answer_line(visit: AnswerVisit) -> str:
    """One answer, as it is printed."""
    return (
        f"{visit.shape:24} longest task {visit.longest_task * 1000:.0f} ms, {visit.tasks_over_50_ms} over 50 ms, "
        f"busy {visit.busy_seconds:.1f} of {visit.seconds:.1f} s, {visit.dropped_frames} of "
        f"{visit.frames + visit.dropped_frames} frames dropped, text {'equal' if visit.is_text_equal else 'DIFFERENT'}"
    )


def _head(found: PageResults) -> str:
    machine = "; ".join(f"{name} {value}" for name, value in found.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    return (
        f"# Page benchmark of {found.date}\n\n"
        f"Machine: {machine}. {versions}.\n"
        f"Jeton at commit {found.commit}; `{found.command}`.\n\n"
        f"Loads are first ones, with an empty cache. An answer has {TOKENS:,} tokens, one every "
        f"{1000 / TOKENS_PER_SECOND:.1f} ms, on a main thread slowed {SLOWER} times; tasks are in processor time of "
        "that thread. [How it is measured](../README.md#page)."
    )


def _wanted(found: PageResults) -> str:
    rows = []
    for path in dict.fromkeys(visit.path for visit in found.loads):
        visits = [visit for visit in found.loads if visit.path == path]
        heaviest = max(_code_bytes(visit) for visit in visits)
        paint = statistics.median(visit.first_paint for visit in visits)
        rows.append(_row(f"`{path}`: script and style", heaviest / 1000, WANTED_BYTES / 1000, "kB"))
        rows.append(_row(f"`{path}`: first paint, median", paint * 1000, WANTED_FIRST_PAINT * 1000, "ms"))
    for shape in dict.fromkeys(visit.shape for visit in found.answers):
        longest = statistics.median(visit.longest_task for visit in found.answers if visit.shape == shape)
        rows.append(_row(f"{shape}: longest task, median", longest * 1000, WANTED_LONGEST_TASK * 1000, "ms"))
    equal = sum(visit.is_text_equal for visit in found.answers)
    are_equal = equal == len(found.answers)
    rows.append(["text on the page as it was sent", "all", f"{equal} of {len(found.answers)}", _said(are_equal)])
    return f"## Wanted and found\n\n{table(['', 'wanted', 'found', 'met'], rows)}"


def _row(what: str, value: float, wanted: float, unit: str) -> list[str]:
    return [what, f"< {wanted:g} {unit}", f"{value:.1f} {unit}", _said(value < wanted)]


def _said(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def _loads(visits: Sequence[LoadVisit]) -> str:
    columns = ["page", "first paint, ms", "first contentful paint, ms", "loaded, ms", "requests"]
    columns += ["script, kB", "style, kB", "all, kB"]
    rows = [
        [
            f"`{visit.path}`",
            *(f"{seconds * 1000:.0f}" for seconds in (visit.first_paint, visit.first_contentful_paint, visit.loaded)),
            str(visit.requests),
            *(f"{size / 1000:.1f}" for size in (visit.script_bytes, visit.style_bytes, visit.bytes)),
        ]
        for visit in visits
    ]
    return f"## First loads\n\n{table(columns, rows)}"


def _answers(visits: Sequence[AnswerVisit]) -> str:
    columns = ["answer", "characters", "s", "longest task, ms", "over 50 ms", "busy, s", "frames", "dropped"]
    rows = [
        [
            visit.shape,
            f"{visit.characters:,}",
            f"{visit.seconds:.1f}",
            f"{visit.longest_task * 1000:.0f}",
            str(visit.tasks_over_50_ms),
            f"{visit.busy_seconds:.1f}",
            str(visit.frames),
            str(visit.dropped_frames),
        ]
        for visit in visits
    ]
    return f"## Answers\n\n{table(columns, rows)}"


def _code_bytes(visit: LoadVisit) -> int:
    return visit.script_bytes + visit.style_bytes
