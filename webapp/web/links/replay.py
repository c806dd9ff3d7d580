"""A shared run's events once more, at the pace they had. Knows no page and no database.

A reader's place is an event id alone, as in a live stream: any web process goes on from it.
"""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Literal

from gevent.event import Event

from webapp.web.errors import ReplayLimitReached
from webapp.web.links.shared_run import SharedRun
from webapp.web.playground_frames import frames
from webapp.web.resuming import RETRY_MILLISECONDS
from webapp.web.sse import KEEP_ALIVE, KEEP_ALIVE_SECONDS, retry_frame
from webapp.web.subscription import Watcher
from webapp.wire.generation import Delta, Finished, GenerationEvent, Started
from webapp.wire.messages import Published

Speed = Literal[1, 2, 4]

# In one web process. Each holds a connection and a greenlet, and those of one link its run, of 1 MB at most.
MOST_REPLAYS = 200
# From one address: nobody takes the places of all others.
MOST_OF_ONE_ADDRESS = 50
RETRY_AFTER_SECONDS = 10


def moments(run: SharedRun) -> list[int]:
    """When each text came, and last the end: milliseconds from the acceptance, never less than the one before."""
    latest, found = 0, list[int]()
    end = round(1000 * (run.timings.time_to_first_token + run.timings.decode_time))
    for moment in (*(moment for moment, _ in run.texts), end):
        latest = max(latest, moment)
        found.append(latest)
    return found


class Schedule:
    """Which frames are due at which second of one replay. Its ids are those of the texts, from 1; the end has the last.

    It is counted from the start of the replay and never from the last frame, so that no lateness adds up.
    """

    def __init__(self, run: SharedRun, *, speed: Speed, after: int) -> None:
        self.run = run
        self._speed = speed
        self._moments = moments(run)
        # How many of the numbered events have been taken.
        self._taken = min(after, len(self._moments))
        self._from = self._moments[self._taken - 1] if self._taken else 0
        self._started_at = 0 if self._taken else round(1000 * run.timings.queue_time)
        self._has_started = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing follows."""
        return self._taken == len(self._moments)

    @property
    def next_second(self) -> float:
        """When the next frame is due. There is one."""
        moment = self._moments[self._taken] if self._has_started else max(self._started_at, self._from)
        return (moment - self._from) / 1000 / self._speed

    def take(self, second: float) -> bytes:
        """All frames that are due by then and were not taken yet, as one chunk."""
        due = list[bytes]()
        while not self.has_ended and self.next_second <= second:
            due.append(frames(self._take_next()))
        return b"".join(due)

    def _take_next(self) -> Published:
        if not self._has_started:
            self._has_started = True
            return _published(0, Started(self.run.usage.prompt_tokens, self.run.device, self.run.precision))
        index = self._taken
        self._taken += 1
        if index == len(self.run.texts):
            finished = Finished(self.run.finish_reason, self.run.usage, self.run.timings)
            return _published(self._taken, finished)
        return _published(self._taken, Delta(index, self.run.texts[index][1], ()))


class Replay:
    """One reader's replay. Its greenlet sleeps until the next frame is due, or until `leave`."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        slug: str,
        address: str,
        forget: Callable[["Replay"], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slug = slug
        self.address = address
        self.schedule = schedule
        self._forget = forget
        self._now = now
        self._left = Event()
        self._watcher: Watcher | None = None

    def chunks(self) -> Iterator[bytes]:
        """The frames, each chunk as soon as it is due, and a comment where there is none for long."""
        yield retry_frame(RETRY_MILLISECONDS)
        began_at = self._now()
        written_at = 0.0
        while not self._left.is_set() and not self.schedule.has_ended:
            second = self._now() - began_at
            if due := self.schedule.take(second):
                yield due
                written_at = second
            elif second - written_at >= KEEP_ALIVE_SECONDS:
                yield KEEP_ALIVE
                written_at = second
            else:
                self._left.wait(min(self.schedule.next_second, written_at + KEEP_ALIVE_SECONDS) - second)

    def leave(self) -> None:
        """The reader has gone, is to go on in another web process, or may not: the stream ends where it is."""
        self._left.set()

    def be_watched(self, watcher: Watcher) -> None:
        """What calls `leave`; it is closed with the replay."""
        self._watcher = watcher

    def close(self) -> None:
        """Stop. Idempotent."""
        if self._watcher:
            self._watcher.close()
        self._forget(self)


class Replays:
    """The replays of this web process, which are so many at most."""

    def __init__(self, *, most: int = MOST_REPLAYS, most_of_one_address: int = MOST_OF_ONE_ADDRESS) -> None:
        self._most = most
        self._most_of_one_address = most_of_one_address
        self._open = set[Replay]()
        self._is_draining = False

    @property
    def count(self) -> int:
        """How many there are now."""
        return len(self._open)

    @property
    def slugs(self) -> set[str]:
        """Which links are replayed now."""
        return {replay.slug for replay in self._open}

    def open(self, run: SharedRun, *, slug: str, address: str, speed: Speed, after: int) -> Replay | None:
        """A replay after event `after`; None where that was the end. Raises ReplayLimitReached.

        `address` is whose it is, as limits count.
        """
        # A run never changes: all readers of a link have the same one.
        same = next((replay.schedule.run for replay in self._open if replay.slug == slug), run)
        schedule = Schedule(same, speed=speed, after=after)
        if schedule.has_ended:
            return None
        of_address = sum(replay.address == address for replay in self._open)
        if self.count >= self._most or of_address >= self._most_of_one_address:
            message = "Too many shared links are being replayed at this moment; please try again soon."
            raise ReplayLimitReached(message, retry_after=RETRY_AFTER_SECONDS)
        replay = Replay(schedule, slug=slug, address=address, forget=self._open.discard)
        self._open.add(replay)
        if self._is_draining:
            # The browser comes back, and finds another web process.
            replay.leave()
        return replay

    def end(self, slugs: Collection[str]) -> None:
        """These links are gone: whoever reads them comes back, and is told."""
        for replay in [replay for replay in self._open if replay.slug in slugs]:
            replay.leave()

    def drain(self) -> None:
        """This process is to end: all readers go on elsewhere."""
        self._is_draining = True
        for replay in list(self._open):
            replay.leave()


def _published(event_id: int, event: GenerationEvent) -> Published:
    return Published("", event_id, event)
