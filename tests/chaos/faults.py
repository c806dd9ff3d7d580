"""The faults by name: what is done, and how long a stream may stand still for it."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos import kills
from tests.chaos.random_kills import kill_some
from tests.chaos.site import Site
from tests.chaos.torn import lose_power

# What a busy machine of two cores may add to a figure. Waits of the server's own are not part of any figure.
MARGIN = 3.0
# The figures to hold, in seconds: docs/soak.md.
WEB_SECONDS = 1.0
ENGINE_SECONDS = 0.2
POOL_SECONDS = 2.0
RELOAD_SECONDS = 3.0
# The playground's `retry:`, and how long an engine may be silent.
RECONNECT_SECONDS = 0.3
HANG_SECONDS = 3.25


@dataclass(frozen=True)
class Fault:
    """What is done, and how long a stream may stand still for it: `stall_seconds`, None where there is no figure.

    `wait_seconds` is a wait of the server's own that comes before. A site with no more engines than `lost_engines`
    has to load its model anew. With `has_to_end_whole`, no answer may break off before its last chunk.
    `inject` may return what it did, where that is not always the same. Streams that are shorter than
    `least_seconds` would be over before it was.
    """

    inject: Callable[[Site, random.Random], str | None]
    stall_seconds: float | None = None
    wait_seconds: float = 0.0
    lost_engines: float = 0
    has_to_end_whole: bool = False
    least_seconds: float = 0.0

    def stall_limit(self, site: Site) -> float | None:
        """In seconds, with the margin."""
        if self.stall_seconds is None:
            return None
        load_seconds = site.start_seconds if self.lost_engines >= site.engine_count else 0.0
        return self.wait_seconds + MARGIN * (self.stall_seconds + load_seconds)


FAULTS = {
    "clean": Fault(kills.nothing),
    "web": Fault(kills.kill_web_process, WEB_SECONDS, RECONNECT_SECONDS),
    "webs": Fault(kills.kill_web_processes, WEB_SECONDS, RECONNECT_SECONDS),
    "gunicorn": Fault(kills.kill_gunicorn),
    "engine": Fault(kills.kill_engine, ENGINE_SECONDS, lost_engines=1),
    "engines": Fault(kills.kill_engines, ENGINE_SECONDS, lost_engines=math.inf),
    "hang": Fault(kills.hang_engine, ENGINE_SECONDS, HANG_SECONDS, lost_engines=1),
    "late": Fault(kills.outlive_pool, POOL_SECONDS, lost_engines=math.inf),
    "pool": Fault(kills.kill_pool, POOL_SECONDS),
    "reload": Fault(kills.reload, RELOAD_SECONDS, has_to_end_whole=True),
    "reload-kill": Fault(kills.reload_and_kill, RELOAD_SECONDS),
    "restart": Fault(kills.restart, has_to_end_whole=True, least_seconds=9.0),
    "power": Fault(lose_power),
    "random": Fault(kill_some, least_seconds=15.0),
    "poison": Fault(kills.nothing, ENGINE_SECONDS, lost_engines=math.inf),
    "memory": Fault(kills.nothing, ENGINE_SECONDS),
}
