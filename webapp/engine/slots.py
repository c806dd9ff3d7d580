"""Which sequence is in which slot, and what each slot's cache holds. Knows token ids, nothing of tensors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from webapp.engine.sequence import Sequence

# A shorter common prefix is not worth a copy.
SHORTEST_PREFIX = 16


class Cache(Protocol):
    """The keys and values of all slots, as far as they are moved about. A copy may be some more than asked for."""

    @property
    def bytes_per_position(self) -> int: ...

    def copy(self, source: int, target: int, *, length: int) -> None: ...

    def swap(self, one: int, other: int, *, length: int) -> None: ...

    def forget(self, index: int, *, start: int = 0) -> None: ...


@dataclass(eq=False)
class Slot:
    """`cached_ids` are the token ids whose keys and values are in the cache; they outlive the sequence.

    `adapter` is the LoRA adapter that they were made with: with another one they would be others.
    """

    index: int
    cached_ids: list[int] = field(default_factory=list)
    adapter: str | None = None
    sequence: Sequence | None = None
    # Grows with every release: the smallest has been idle longest.
    released_at: int = 0
    # Positions whose memory is taken: those cached, and what was written behind them before.
    held: int = 0

    @property
    def is_free(self) -> bool:
        return self.sequence is None

    @property
    def unread(self) -> int:
        """Tokens to prefill: all but the newest, which the next decode step takes."""
        return self.sequence.position - 1 - len(self.cached_ids) if self.sequence else 0

    @property
    def is_ready(self) -> bool:
        """The next decode step can take it."""
        return self.sequence is not None and not self.unread

    def extend(self, token_ids: list[int]) -> None:
        """Take note that these are cached now, after those before."""
        self.cached_ids.extend(token_ids)
        self.held = max(self.held, len(self.cached_ids))

    def growth(self, count: int) -> int:
        """How many positions of memory it takes to cache `count` more."""
        return max(0, len(self.cached_ids) + count - self.held)


@dataclass(frozen=True)
class Reuse:
    """The first `length` positions of the slot `source` are the start of a prompt."""

    source: Slot
    length: int


class SlotTable:
    """All slots, in the order of the cache. What it says a slot holds and what the cache holds change together."""

    def __init__(self, count: int, cache: Cache) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._cache = cache
        self._releases = 0

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def held(self) -> int:
        """Positions whose memory is taken, in all slots."""
        return sum(slot.held for slot in self._slots)

    def hold(self, slot: Slot, sequence: Sequence, *, keep: int) -> None:
        """Give a free slot to a sequence that starts with the first `keep` token ids the slot holds."""
        slot.sequence = sequence
        slot.adapter = sequence.dispatch.request.adapter
        slot.cached_ids = slot.cached_ids[:keep]

    def release(self, slot: Slot) -> None:
        """Free the slot. What it holds stays, for prompts that start alike."""
        self._releases += 1
        slot.released_at = self._releases
        slot.sequence = None

    def forget(self, slot: Slot) -> None:
        """Free the slot and give its memory back."""
        self.release(slot)
        slot.cached_ids = []
        self.trim(slot)

    def trim(self, slot: Slot, *, spare: int = 0) -> None:
        """Give back the memory that was taken behind what the slot holds, and behind `spare` more positions."""
        length = len(slot.cached_ids) + spare
        if slot.held > length:
            self._cache.forget(slot.index, start=length)
            slot.held = length

    def copy(self, reuse: Reuse, target: Slot) -> None:
        """Begin the target slot with what another one holds."""
        # Until it is done, nothing is certain.
        target.cached_ids = []
        self._cache.copy(reuse.source.index, target.index, length=reuse.length)
        target.extend(reuse.source.cached_ids[: reuse.length])

    def choose(self, token_ids: list[int], *, adapter: str | None = None) -> tuple[Slot, int]:
        """A free slot for a sequence of these token ids with this adapter, and how much of what it holds can be kept.

        It is the one that holds the longest prefix where little else of it is lost, or the one least wanted.
        """
        reuse = self.longest_prefix(token_ids, adapter=adapter)
        source = reuse.source
        if source.is_free and reuse.length and reuse.length * 2 >= len(source.cached_ids):
            return source, reuse.length
        free = [slot for slot in self._slots if slot.is_free]
        others = [slot for slot in free if slot is not source or not reuse.length]
        slot = min(others or free, key=lambda slot: (bool(slot.cached_ids), slot.released_at, slot.index))
        return slot, reuse.length if slot is source else 0

    def longest_prefix(self, token_ids: list[int], *, adapter: str | None = None) -> Reuse:
        """The slot that holds most of the start of these token ids; a length of 0 where none holds enough."""
        # The newest token is never reused: its logits are what is wanted.
        wanted = token_ids[:-1]
        candidates = (
            Reuse(slot, common_prefix(slot.cached_ids, wanted) if slot.adapter == adapter else 0)
            for slot in self._slots
        )
        return max(candidates, key=lambda reuse: reuse.length)

    def gather(self, *, batch: Callable[[int], int]) -> int:
        """Move ready slots to the front where that makes the batch smaller; returns the rows of the batch.

        `batch` rounds a number of rows up to one there is.
        """
        count = sum(slot.is_ready for slot in self._slots)
        while True:
            last = max(slot.index for slot in self._slots if slot.is_ready)
            if batch(last + 1) == batch(count):
                return batch(count)
            hole = next(slot for slot in self._slots if not slot.is_ready)
            self._swap(self._slots[last], hole)

    def _swap(self, one: Slot, other: Slot) -> None:
        kept = one.cached_ids, other.cached_ids
        length = max(map(len, kept))
        # Until it is done, nothing is certain; a sequence that it fails for is read again.
        one.cached_ids, other.cached_ids = [], []
        self._cache.swap(one.index, other.index, length=length)
        one.cached_ids, other.cached_ids = kept
        one.index, other.index = other.index, one.index
        one.held, other.held = max(other.held, length), max(one.held, length)
        self._slots[one.index], self._slots[other.index] = one, other
        # The longer one left memory behind where the shorter one is now.
        self.trim(one)
        self.trim(other)


def common_prefix(one: list[int], other: list[int]) -> int:
    """How many token ids two lists start with in common; 0 where they are too few to be worth a copy."""
    length, most = 0, min(len(one), len(other))
    # By halves: comparing slices is much faster than comparing one by one.
    while length < most:
        middle = (length + most + 1) // 2
        if one[length:middle] == other[length:middle]:
            length = middle
        else:
            most = middle - 1
    return length if length >= SHORTEST_PREFIX else 0
