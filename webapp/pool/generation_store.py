"""All generations the pool knows, by id: those that live, and for a while those that have ended."""

import secrets
from collections import deque
from collections.abc import Iterator

from webapp.pool.generation_log import Generation

# How long an ended generation can still be resumed, and how much memory all of these may take.
KEPT_SECONDS = 600.0
MOST_KEPT_BYTES = 128 * 1024 * 1024


class GenerationStore:
    """Generations by id, each with its owner."""

    def __init__(self) -> None:
        self._generations: dict[str, Generation] = {}
        self._unended: dict[str, Generation] = {}
        self._ended: deque[Generation] = deque()
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
        """Its end has come: it can be resumed until `forget_old` drops it."""
        self._unended.pop(generation.generation_id, None)
        self._ended.append(generation)
        self._kept_bytes += generation.approximate_bytes

    def forget_old(self, now: float) -> list[str]:
        """Drop those that ended long ago, and the oldest where too much is kept; the ids of these."""
        forgotten: list[str] = []
        while self._ended and (self._kept_bytes > MOST_KEPT_BYTES or self._is_old(self._ended[0], now)):
            oldest = self._ended.popleft()
            self._kept_bytes -= oldest.approximate_bytes
            del self._generations[oldest.generation_id]
            forgotten.append(oldest.generation_id)
        return forgotten

    def _is_old(self, generation: Generation, now: float) -> bool:
        return generation.ended_at is not None and now - generation.ended_at > KEPT_SECONDS


def is_same_owner(owner: str, other: str) -> bool:
    """Whether two owners are the same, in constant time."""
    # As bytes: compare_digest takes no other text than ASCII.
    return secrets.compare_digest(owner.encode(), other.encode())
