"""The fault `slow`: fifty readers that read nothing, beside those that do."""

import math
import time
from dataclasses import dataclass, replace

import psutil

from tests.chaos.answers import Scripts
from tests.chaos.report import Line
from tests.chaos.site import Site
from tests.chaos.slow_readers import Held, SlowReaders, watch
from tests.chaos.wave import Verdict, Wave

SLOW_READERS = 50
# Fast enough to fill the kernel's buffers, some 100 kB for each reader, in half a minute.
SLOW_STEP_SECONDS = 0.01
SLOW_SECONDS = 60.0
BASELINE_SECONDS = 10.0
NORMAL_SECONDS = 40.0
LOOK_SECONDS = 0.25
PATIENCE_SECONDS = 90.0
# The figures to hold.
MOST_TIMES_SLOWER = 2.0
MOST_WEB_BYTES = 20 * 10**6
MOST_SECONDS_UNTIL_CLOSED = 30.0


@dataclass(frozen=True)
class Figures:
    """What the slow readers cost. Seconds and bytes; `times_slower` is beside the same readers when they read."""

    gap_p99: float
    times_slower: float
    more_bytes: int
    seconds_until_closed: float

    def __str__(self) -> str:
        return (
            f"gap p99 {1000 * self.gap_p99:.0f} ms, {self.times_slower:.2f} times the baseline; "
            f"web memory {self.more_bytes / 1e6:+.1f} MB; closed within {self.seconds_until_closed:.1f} s"
        )

    @property
    def complaint(self) -> str | None:
        """What is not as it should be; None where all is."""
        missed = {
            "the gap": self.times_slower >= MOST_TIMES_SLOWER,
            "the memory": self.more_bytes >= MOST_WEB_BYTES,
            "the closing": self.seconds_until_closed >= MOST_SECONDS_UNTIL_CLOSED,
        }
        names = [name for name, is_missed in missed.items() if is_missed]
        return f"missed: {', '.join(names)}" if names else None


def slow(site: Site, scripts: Scripts, *, streams: int, seed: int) -> Line:
    """Normal streams beside others that are read, and beside the same that are not.

    Until the server has closed the latter, and their readers have resumed them to the end.
    """
    fast_scripts = replace(scripts, step_seconds=SLOW_STEP_SECONDS)
    beside_baseline = Wave(site, fast_scripts.many(SLOW_READERS, seconds=BASELINE_SECONDS))
    baseline = Wave(site, scripts.many(streams, seconds=BASELINE_SECONDS))
    for wave in (baseline, beside_baseline):
        wave.wait_until_closed(PATIENCE_SECONDS)
    bytes_before = _web_bytes(site)
    asked = fast_scripts.many(SLOW_READERS, seconds=SLOW_SECONDS)
    with SlowReaders(site.server.port) as readers:
        slow_wave = Wave(site, asked, readers=readers)
        normal = Wave(site, scripts.many(streams, seconds=NORMAL_SECONDS))
        held, bytes_beside = _watch_until_closed(site, readers)
        readers.resume()
        slow_wave.wait_until_closed(PATIENCE_SECONDS)
    normal.wait_until_closed(PATIENCE_SECONDS)
    site.wait_until_whole()
    verdict = Verdict()
    for wave in (beside_baseline, baseline, normal, slow_wave):
        verdict.take(wave.streams, site.journalled_texts())
    # The slow ones stand still on purpose.
    verdict.longest_stall = max(gap for stream in normal.streams for gap in stream.source.seen.gaps)
    figures = Figures(
        gap_p99=normal.gap_p99,
        times_slower=normal.gap_p99 / baseline.gap_p99,
        more_bytes=bytes_beside - bytes_before,
        seconds_until_closed=max((connection.seconds_until_closed for connection in held), default=math.inf),
    )
    return Line("slow", seed, verdict, complaint=figures.complaint, note=str(figures))


def _watch_until_closed(site: Site, readers: SlowReaders) -> tuple[list[Held], int]:
    """What became of the slow connections, and the most memory that the web processes took meanwhile."""
    held: dict[int, Held] = {}
    most_bytes = 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and not (held and all(connection.closed_at for connection in held.values())):
        held |= {port: Held() for port in readers.ports if port not in held}
        watch(held, site.server.port)
        most_bytes = max(most_bytes, _web_bytes(site))
        time.sleep(LOOK_SECONDS)
    return list(held.values()), most_bytes


def _web_bytes(site: Site) -> int:
    """The memory that the web processes have in RAM."""
    return sum(psutil.Process(pid).memory_info().rss for pid in site.pids("web"))
