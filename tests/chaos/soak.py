"""Faults under streams, by name: one line for each."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tests.chaos.answers import Asked, Scripts, of_starter
from tests.chaos.faults import FAULTS
from tests.chaos.report import Line
from tests.chaos.site import Site
from tests.chaos.slow import slow
from tests.chaos.torn import torn
from tests.chaos.wave import Wave

# For all readers to be done once the fault is over.
PATIENCE_SECONDS = 90.0
# Past this many events a second the reading would take too much of a machine of two cores.
MOST_EVENTS_PER_SECOND = 4000
LEAST_STEP_SECONDS = 0.05
FAILING_AFTER = 10

# Those that a script makes, or that need to know the text before.
SCRIPTED_ONLY = ("torn", "slow", "poison", "memory")
SCRIPTED_NAMES = ("torn", *FAULTS, "slow")
STARTER_NAMES = tuple(name for name in SCRIPTED_NAMES if name not in SCRIPTED_ONLY)


def scripts_for(streams: int, *, seed: int) -> Scripts:
    """Scripts at a pace that so many readers can follow."""
    return Scripts(random.Random(seed), max(LEAST_STEP_SECONDS, streams / MOST_EVENTS_PER_SECOND))


def scripted_line(site: Site, scripts: Scripts, name: str, *, streams: int, seconds: float, seed: int) -> Line:
    """One fault under so many streams of the scripted engine, each of about so many seconds."""
    if name == "torn":
        return torn(site, scripts, seconds=seconds, seed=seed)
    if name == "slow":
        return slow(site, scripts, streams=streams, seed=seed)
    asked = scripts.many(streams, seconds=max(seconds, FAULTS[name].least_seconds))
    if name == "poison":
        asked.append(scripts.failing("crash_at", "EngineLost", after=FAILING_AFTER))
    if name == "memory":
        asked.append(scripts.failing("out_of_memory_at", "OutOfMemory", after=FAILING_AFTER))
    return run_fault(site, name, asked, seed=seed)


def starter_lines(site: Site, names: Iterable[str], *, streams: int, max_tokens: int, seed: int) -> Iterator[Line]:
    """Faults under streams of the real starter model, beside the texts of an undisturbed run."""
    asked = of_starter(random.Random(seed), count=streams, max_tokens=max_tokens)
    undisturbed = Wave(site, asked)
    undisturbed.wait_until_closed(PATIENCE_SECONDS)
    told = [replace(stream.asked, text=stream.source.seen.text) for stream in undisturbed.streams]
    for name in names:
        yield run_fault(site, name, told, seed=seed)


def run_fault(site: Site, name: str, asked: Iterable[Asked], *, seed: int) -> Line:
    """Stream, strike, wait for all readers and until the site is whole again."""
    fault = FAULTS[name]
    wave = Wave(site, asked)
    wave.wait_until_flowing()
    note = fault.inject(site, random.Random(f"{seed} {name}")) or ""
    wave.wait_until_closed(PATIENCE_SECONDS)
    site.wait_until_whole()
    verdict = wave.verdict()
    has_broken_off = fault.has_to_end_whole and verdict.cut_offs
    complaint = f"{verdict.cut_offs} answers broke off" if has_broken_off else None
    return Line(name, seed, verdict, fault.stall_limit(site), complaint, note)
