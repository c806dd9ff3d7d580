"""All generations the pool knows, by id: those that live, and for a while those that have ended."""

import secrets
from collections import deque
from collections.abc import Iterator

from webapp.pool.generation_log import Generation
from webapp.wire.generation import Finished

# How long an ended generation can still be resumed, and how long one whose answer is whole and has a page: its reader
# may look at it for a while before sharing it.
KEPT_SECONDS = 600.0
PAGE_KEPT_SECONDS = 3600.0
# How much memory all of these may take.
MOST_KEPT_BYTES = 128 * 1024 * 1024
# A file of the journal stays as long as any before it, and the next pool reads all of them before it answers: readers
# then waited 1.8 seconds with 8 MB on two busy cores, and 3.1 with 16. Where they are more than this, pages get no more
# time than others.
ROOMY_JOURNAL_BYTES = 8 * 1024 * 1024


class GenerationStore:
    """Generations by id, each with its owner."""

    def __init__(self) -> None:
        self._generations: dict[str, Generation] = {}
        self._unended: dict[str, Generation] = {}
        # Each in the order of their ends.
        self._ended: deque[Generation] = deque()
        self._ended_pages: deque[Generation] = deque()
        self._kept_bytes = 0

    def __iter__(self) -> Iterator[Generation]:
        """All of them, also while some are forgotten."""
        return iter(list(self._generations.values()))

    @property
    def unended(self) -> list[Generation]:
        """Those that wait or run, in the order of their acceptance."""
        return list(self._unended.values())

    def add(self, generation: Generation) -> None:
        self._generations[generation.generation_id] = self._unended[generation.generation_id] = generation

    def find(self, generation_id: str) -> Generation | None:
        return self._generations.get(generation_id)

    def owned(self, generation_id: str, owner: str) -> Generation | None:
        """The generation, for its owner only."""
        generation = self.find(generation_id)
        return generation if generation and is_same_owner(generation.submit.owner, owner) else None

    def keep_ended(self, generation: Generation) -> None:
        """Its end has come, after those that were kept before: it can be resumed until `forget_old` drops it."""
        self._unended.pop(generation.generation_id, None)
        is_whole = isinstance(generation.end, Finished)
        kept = self._ended_pages if generation.has_page and is_whole else self._ended
        kept.append(generation)
        self._kept_bytes += generation.approximate_bytes

    def keep_those_ended(self) -> None:
        """Keep all that had ended before they were added."""
        ended = [generation for generation in self.unended if generation.is_ended]
        for generation in sorted(ended, key=lambda generation: generation.ended_at or 0.0):
            self.keep_ended(generation)

    def forget_old(self, now: float, *, journal_bytes: int) -> list[str]:
        """Drop those that ended long ago, and the oldest where too much is kept; the ids of these."""
        page_seconds = PAGE_KEPT_SECONDS if journal_bytes <= ROOMY_JOURNAL_BYTES else KEPT_SECONDS
        forgotten: list[str] = []
        for kept, seconds in ((self._ended, KEPT_SECONDS), (self._ended_pages, page_seconds)):
            while kept and now - _end_of(kept) > seconds:
                forgotten.append(self._forget_first(kept))
        while self._kept_bytes > MOST_KEPT_BYTES:
            forgotten.append(self._forget_first(min(filter(None, (self._ended, self._ended_pages)), key=_end_of)))
        return forgotten

    def _forget_first(self, kept: deque[Generation]) -> str:
        oldest = kept.popleft()
        self._kept_bytes -= oldest.approximate_bytes
        del self._generations[oldest.generation_id]
        return oldest.generation_id


def _end_of(kept: deque[Generation]) -> float:
    ended_at = kept[0].ended_at
    assert ended_at is not None
    return ended_at


def is_same_owner(owner: str, other: str) -> bool:
    """Whether two owners are the same, in constant time."""
    # As bytes: compare_digest takes no other text than ASCII.
    return secrets.compare_digest(owner.encode(), other.encode())
