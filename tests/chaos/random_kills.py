"""Kills of all kinds, drawn by chance."""

import random
import time

from tests.chaos import kills
from tests.chaos.site import Site

KILLS_SECONDS = 10.0
KINDS = (
    kills.kill_web_process,
    kills.kill_web_processes,
    kills.kill_gunicorn,
    kills.kill_engine,
    kills.kill_engines,
    kills.stop_engine,
    kills.kill_pool,
)


def kill_some(site: Site, chance: random.Random) -> str:
    """Eight kills in ten seconds, of every kind one and one more; what they were, in order."""
    started_at = time.monotonic()
    kinds = [*chance.sample(KINDS, len(KINDS)), chance.choice(KINDS)]
    for kind, moment in zip(kinds, sorted(chance.uniform(0, KILLS_SECONDS) for _ in kinds), strict=True):
        time.sleep(max(0.0, started_at + moment - time.monotonic()))
        kind(site, chance)
    return ", ".join(kind.__name__ for kind in kinds)


def kill_one(site: Site, chance: random.Random) -> str:
    """One kind of kill; its name."""
    kind = chance.choice(KINDS)
    kind(site, chance)
    return kind.__name__
