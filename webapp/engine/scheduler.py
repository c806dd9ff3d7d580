"""Who runs: who gets a slot, whose prompt is read next, and who gives way when memory is short.

Knows sequences and slots, nothing of tensors.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from webapp.engine.errors import NoFreeSlot, OutOfMemory
from webapp.engine.sequence import Sequence
from webapp.engine.slots import SHORTEST_PREFIX, Reuse, Slot, SlotTable, common_prefix

# What each running sequence may still grow by before one that was preempted comes back: it would soon have to go again.
_HEADROOM = 64


@dataclass(frozen=True)
class Reading:
    """The next `count` tokens of this slot's prompt are to be read."""

    slot: Slot
    count: int


class Scheduler:
    """All sequences of a runner, oldest first; those without a slot wait.

    `max_positions` bounds the positions of the cache that take memory. Where they would be exceeded, stale and idle
    positions are given back, then the youngest sequence loses its slot and waits, to be read again.
    """

    def __init__(self, slots: SlotTable, *, max_positions: int) -> None:
        self._slots = slots
        self._max_positions = max_positions
        self._sequences: list[Sequence] = []
        self._arrivals = 0
        self._is_oldest_first = True

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        return tuple(self._sequences)

    def add(self, sequence: Sequence) -> None:
        """Take a sequence. Raises NoFreeSlot, or OutOfMemory where it can never run."""
        if len(self._sequences) >= len(self._slots):
            raise NoFreeSlot(f"All {len(self._slots)} slots of this engine are taken.")
        if sequence.position > self._max_positions:
            raise _too_long(sequence.position, self._max_positions)
        self._arrivals += 1
        sequence.arrival = self._arrivals
        self._sequences.append(sequence)

    def drop(self, sequence: Sequence, *, is_broken: bool = False) -> None:
        """The sequence has ended. What its slot holds stays for others, unless it is broken."""
        self._sequences.remove(sequence)
        slot = self._slot_of(sequence)
        if slot:
            self._slots.forget(slot) if is_broken else self._slots.release(slot)

    def admit(self) -> None:
        """Give slots to those that wait, oldest first, as long as there is memory."""
        waiting = [sequence for sequence in self._sequences if not self._slot_of(sequence)]
        for sequence in waiting:
            if not self._has_memory_for(sequence):
                return
            slot, keep = self._slots.choose(sequence.token_ids, adapter=sequence.dispatch.request.adapter)
            self._slots.hold(slot, sequence, keep=keep)

    def ready(self) -> list[Slot]:
        """The slots that the next decode step takes."""
        return [slot for slot in self._slots if slot.is_ready]

    def begin_turn(self) -> None:
        """Every second turn begins with the oldest prompt, the others with the shortest rest.

        So a short prompt does not wait for a long one to end, and a long one gets half of all turns at least.
        """
        self._is_oldest_first = not self._is_oldest_first

    def next_reading(self, at_most: int, *, taken: Collection[Slot] = ()) -> Reading | None:
        """What to prefill next, beside what is being read into the slots `taken`; None where nothing is left.

        A prompt is read once: the others that start alike wait for what they share, and copy it. Where it is their
        turn, the turn goes to the one that reads it.
        """
        passed = set(taken)
        while unread := [slot for slot in self._unread() if slot not in passed]:
            slot = min(unread, key=self._turn)
            reading = self._read_for(slot, at_most, taken=taken)
            if reading and reading.slot not in taken:
                return reading
            if reading:
                passed.add(slot)
        return None

    def secure(self, growth: dict[Slot, int]) -> list[Slot]:
        """Make sure of memory for so many more positions in each slot; returns those that were not preempted for it.

        Raises OutOfMemory where the only sequence that has a slot needs more than there is.
        """
        while growth and not self._reclaim(growth):
            running = sorted((slot for slot in self._slots if slot.sequence), key=_arrival)
            if len(running) == 1:
                raise _too_long(len(running[0].cached_ids) + growth[running[0]], self._max_positions)
            self._slots.release(running[-1])
            growth = {slot: count for slot, count in growth.items() if slot.sequence}
        return list(growth)

    def forget_idle(self) -> None:
        """Give back all memory that no running sequence needs."""
        for slot in self._slots:
            if slot.is_free:
                self._slots.forget(slot)
            else:
                self._slots.trim(slot)

    def _slot_of(self, sequence: Sequence) -> Slot | None:
        return next((slot for slot in self._slots if slot.sequence is sequence), None)

    def _unread(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.unread]

    def _turn(self, slot: Slot) -> tuple[int, int]:
        return (0 if self._is_oldest_first else slot.unread, _arrival(slot))

    def _read_for(self, slot: Slot, at_most: int, *, taken: Collection[Slot]) -> Reading | None:
        """What brings this slot on; None where it has just copied all it needs."""
        if slot in taken:
            # Where its reading starts has been settled: nothing is copied into it now.
            return Reading(slot, at_most)
        self._share(slot)
        if not slot.unread:
            return None
        ahead = self._ahead_of(slot)
        if ahead:
            rest = ahead.length - len(ahead.source.cached_ids)
            return self._read_for(ahead.source, min(at_most, rest), taken=taken)
        return Reading(slot, min(at_most, slot.unread))

    def _share(self, slot: Slot) -> None:
        """Copy what another slot holds of this one's prompt."""
        assert slot.sequence
        reuse = self._slots.longest_prefix(slot.sequence.token_ids, adapter=slot.adapter)
        gain = reuse.length - len(slot.cached_ids)
        if gain >= SHORTEST_PREFIX and self._reclaim({slot: gain}, source=reuse.source):
            self._slots.copy(reuse, slot)

    def _ahead_of(self, slot: Slot) -> Reuse | None:
        """An older sequence that has yet to read what this one needs too; an older one, so that no ring waits."""
        assert slot.sequence
        wanted = slot.sequence.token_ids[:-1]
        alike = [other for other in self._unread() if other.adapter == slot.adapter]
        older = [other for other in alike if _arrival(other) < _arrival(slot)]
        shared = (Reuse(other, common_prefix(other.sequence.token_ids, wanted)) for other in older if other.sequence)
        useful = [
            reuse
            for reuse in shared
            if reuse.length - len(slot.cached_ids) >= SHORTEST_PREFIX and reuse.length > len(reuse.source.cached_ids)
        ]
        return max(useful, key=lambda reuse: reuse.length, default=None)

    def _has_memory_for(self, sequence: Sequence) -> bool:
        running = [slot.sequence for slot in self._slots if slot.sequence]
        wanted = sum(min(other.position + _HEADROOM, other.most_positions) for other in (*running, sequence))
        return not running or wanted <= self._max_positions

    def _reclaim(self, growth: dict[Slot, int], *, source: Slot | None = None) -> bool:
        """Give back what no sequence needs until each growing slot has memory for so many more; whether it has.

        `source` is kept: the growth is to be copied from it.
        """
        stale = [slot for slot in self._slots if slot not in growth]
        idle = [slot for slot in stale if slot.is_free and slot is not source]
        steps = [
            *(partial(self._slots.trim, slot, spare=count) for slot, count in growth.items()),
            *(partial(self._slots.trim, slot) for slot in stale),
            *(partial(self._slots.forget, slot) for slot in sorted(idle, key=lambda slot: slot.released_at)),
        ]
        for step in steps:
            if self._has_memory_to_grow(growth):
                return True
            step()
        return self._has_memory_to_grow(growth)

    def _has_memory_to_grow(self, growth: dict[Slot, int]) -> bool:
        return self._slots.held + sum(slot.growth(count) for slot, count in growth.items()) <= self._max_positions


def _arrival(slot: Slot) -> int:
    assert slot.sequence
    return slot.sequence.arrival


def _too_long(positions: int, max_positions: int) -> OutOfMemory:
    return OutOfMemory(f"The generation needs {positions} positions of this engine's cache, which has {max_positions}.")
