"""Which sequence is in which slot, and what each slot's cache holds. Knows token ids, nothing of tensors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from webapp.engine.sequence import Sequence

# A shorter common prefix is not worth a copy.
_SHORTEST_PREFIX = 16


@dataclass
class Slot:
    """`cached_ids` are the token ids whose keys and values are in the cache; they outlive the sequence."""

    index: int
    cached_ids: list[int] = field(default_factory=list)
    sequence: Sequence | None = None
    # Grows with every release: the smallest has been idle longest.
    released_at: int = 0
    # Most positions ever used: memory that stays taken.
    high_water: int = 0

    @property
    def is_free(self) -> bool:
        return self.sequence is None

    @property
    def is_ready(self) -> bool:
        """All but the newest token id are cached: the next decode step can take it."""
        return self.sequence is not None and len(self.cached_ids) == self.sequence.position - 1

    def hold(self, sequence: Sequence, *, cached_ids: list[int]) -> None:
        """Take a sequence whose first token ids are already cached."""
        self.sequence = sequence
        self.cached_ids = []
        self.extend(cached_ids)

    def extend(self, token_ids: list[int]) -> None:
        """Take note that these are cached now, after those before."""
        self.cached_ids.extend(token_ids)
        self.high_water = max(self.high_water, len(self.cached_ids))


@dataclass(frozen=True)
class Reuse:
    """The first `length` positions of the slot `source` are the start of a new prompt."""

    source: Slot
    length: int


class SlotTable:
    """All slots, in the order of the cache."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._releases = 0

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    @property
    def has_room(self) -> bool:
        return any(slot.is_free for slot in self._slots)

    def first(self, count: int) -> list[Slot]:
        return self._slots[:count]

    def find(self, token_ids: list[int]) -> tuple[Slot, Reuse]:
        """A free slot for a sequence that starts with `token_ids`, and what it can reuse, maybe the slot's own."""
        # The newest token is never reused: its logits are what is wanted.
        reuse = self._longest_prefix(token_ids[:-1])
        return self._choose(reuse), reuse

    def release(self, slot: Slot) -> None:
        """Free the slot. What it holds stays, for prompts that start alike."""
        self._releases += 1
        slot.released_at = self._releases
        slot.sequence = None

    def gather(self, *, batch: Callable[[int], int], swap: Callable[[Slot, Slot], None]) -> int:
        """Move ready slots to the front where that makes the batch smaller; returns the rows of the batch.

        `batch` rounds a number of rows up to one there is; `swap` exchanges what the cache holds for two slots.
        """
        count = sum(slot.is_ready for slot in self._slots)
        while True:
            last = max(slot.index for slot in self._slots if slot.is_ready)
            if batch(last + 1) == batch(count):
                return batch(count)
            hole = next(slot for slot in self._slots if not slot.is_ready)
            swap(self._slots[last], hole)
            self._exchange(self._slots[last], hole)

    def _exchange(self, one: Slot, other: Slot) -> None:
        one.index, other.index = other.index, one.index
        self._slots[one.index], self._slots[other.index] = one, other

    def _longest_prefix(self, token_ids: list[int]) -> Reuse:
        candidates = (Reuse(slot, _common(slot.cached_ids, token_ids)) for slot in self._slots)
        best = max(candidates, key=lambda reuse: reuse.length)
        return best if best.length >= _SHORTEST_PREFIX else Reuse(best.source, 0)

    def _choose(self, reuse: Reuse) -> Slot:
        """The source itself where little of it is lost; else the free slot that holds the least wanted."""
        source = reuse.source
        if source.is_free and reuse.length and reuse.length * 2 >= len(source.cached_ids):
            return source
        free = [slot for slot in self._slots if slot.is_free]
        others = [slot for slot in free if slot is not source or not reuse.length]
        return min(others or free, key=lambda slot: (bool(slot.cached_ids), slot.released_at, slot.index))


def _common(one: list[int], other: list[int]) -> int:
    """How many token ids two lists start with in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
