"""Kills of all kinds for a long time, with fresh generations all the while, and an audit at the end."""

import random
import time
from collections import Counter

from tests.chaos.answers import Scripts
from tests.chaos.random_kills import kill_one
from tests.chaos.report import Line
from tests.chaos.site import Site
from tests.chaos.wave import Stream, Verdict, begin, wait_until_closed

# Between two kills, in seconds. A pool or gunicorn that is killed more often is started after ever longer pauses.
PAUSES = (1.0, 5.0)
# The journal forgets what ended ten minutes ago.
JUDGE_SECONDS = 60.0
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 120.0


def endure(site: Site, scripts: Scripts, *, streams: int, seconds: float, minutes: float, seed: int) -> Line:
    """Keep so many streams of so many seconds running."""
    chance = random.Random(f"{seed} endurance")
    verdict, kills = Verdict(), Counter[str]()
    running: list[Stream] = []
    closed: list[Stream] = []
    now = time.monotonic()
    end, kill_due, judge_due = now + 60 * minutes, now + seconds, now + JUDGE_SECONDS
    while now < end:
        closed += [stream for stream in running if stream.source.is_closed]
        running = [stream for stream in running if not stream.source.is_closed]
        if len(running) < streams:
            running.append(begin(site, scripts.one(seconds=chance.uniform(0.2, 1.8) * seconds)))
        elif now >= kill_due:
            kills[kill_one(site, chance)] += 1
            kill_due = time.monotonic() + chance.uniform(*PAUSES)
        elif now >= judge_due:
            verdict.take(closed, site.journalled_texts())
            closed, judge_due = [], now + JUDGE_SECONDS
        else:
            time.sleep(LOOK_SECONDS)
        now = time.monotonic()
    wait_until_closed(running, PATIENCE_SECONDS)
    verdict.take(closed + running, site.journalled_texts())
    site.wait_until_whole()
    audit = site.server.audit()
    print(audit.stdout.strip(), flush=True)
    note = f"{kills.total()} kills: " + ", ".join(f"{name} {count}" for name, count in sorted(kills.items()))
    return Line("random", seed, verdict, complaint="the audit is not clean" if audit.returncode else None, note=note)
