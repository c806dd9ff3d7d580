"""Whose prompt is read, who shares what is read, and who gives way: without a model."""

import random
from dataclasses import dataclass, field

import pytest

from tests.engine.test_slots import ListedCache, assert_true, sequence
from webapp.engine.errors import NoFreeSlot, OutOfMemory
from webapp.engine.scheduler import Scheduler
from webapp.engine.sequence import Sequence
from webapp.engine.slots import Slot, SlotTable


@dataclass
class Turns:
    """A scheduler whose prompts are read and whose tokens are made as a runner does it."""

    slots: int = 4
    max_positions: int = 10_000
    chunk: int = 100
    slot_length: int = 3100
    read: dict[int, int] = field(default_factory=dict)
    ready_after: dict[int, int] = field(default_factory=dict)
    failed: list[Sequence] = field(default_factory=list)
    # How many prompts were read in each pass.
    together: list[int] = field(default_factory=list)
    turn: int = 0

    def __post_init__(self) -> None:
        self.cache = ListedCache(self.slots, self.slot_length)
        self.table = SlotTable(self.slots, self.cache)
        self.scheduler = Scheduler(self.table, max_positions=self.max_positions)

    def add(self, prompt_ids: list[int], *, max_tokens: int = 24) -> Sequence:
        added = sequence(prompt_ids, max_tokens=max_tokens)
        self.scheduler.add(added)
        return added

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.turn += 1
            self.scheduler.admit()
            self._prefill()
            self._decode()
            assert_true(self.table, self.cache)
            assert self.table.held <= self.max_positions

    def read_of(self, one: Sequence) -> int:
        return self.read.get(one.lease, 0)

    def _prefill(self) -> None:
        budget = self.chunk
        self.scheduler.begin_turn()
        while budget > 0:
            counts: dict[Slot, int] = {}
            while budget > 0 and (reading := self.scheduler.next_reading(budget, taken=counts)):
                counts[reading.slot] = reading.count
                budget -= reading.count
            counts = {slot: counts[slot] for slot in self.scheduler.secure(counts)}
            if not counts:
                return
            self.together.append(len(counts))
            for slot, count in counts.items():
                assert slot.sequence
                start = len(slot.cached_ids)
                token_ids = slot.sequence.token_ids[start : start + count]
                self.cache.write(slot.index, token_ids, start=start)
                slot.extend(token_ids)
                self.read[slot.sequence.lease] = self.read_of(slot.sequence) + len(token_ids)
            assert self.table.held <= self.max_positions

    def _decode(self) -> None:
        ready = self.scheduler.ready()
        try:
            ready = self.scheduler.secure(dict.fromkeys(ready, 1))
        except OutOfMemory:
            (slot,) = ready
            assert slot.sequence
            self.failed.append(slot.sequence)
            self.scheduler.drop(slot.sequence, is_broken=True)
            return
        if not ready:
            return
        self.table.gather(batch=lambda count: count)
        for slot in ready:
            one = slot.sequence
            assert one
            self.ready_after.setdefault(one.lease, self.turn)
            newest = one.newest_token_id
            self.cache.write(slot.index, [newest], start=len(slot.cached_ids))
            slot.extend([newest])
            one.append(newest + 1)
            if one.finish_reason:
                self.scheduler.drop(one)


def _prompt(number: int, length: int) -> list[int]:
    """Token ids that no prompt of another number starts with."""
    return list(range(number * 100_000, number * 100_000 + length))


def test_a_short_prompt_does_not_wait_for_a_long_one():
    turns = Turns()
    long = turns.add(_prompt(1, 3000))
    turns.step(2)
    short = turns.add(_prompt(2, 50))
    turns.step(2)

    assert turns.ready_after[short.lease] <= 4
    assert long.lease not in turns.ready_after


def test_a_long_prompt_gets_half_of_all_turns_however_many_short_ones_come():
    turns = Turns()
    long = turns.add(_prompt(1, 1000))
    for number in range(2, 30):
        if len(turns.scheduler.sequences) < 4:
            turns.add(_prompt(number, 100), max_tokens=1)
        turns.step()

    assert turns.ready_after[long.lease] <= 21


def test_short_prompts_are_read_in_one_pass():
    turns = Turns(slots=8)
    added = [turns.add(_prompt(number, 21)) for number in range(7)]
    turns.step(2)

    assert turns.together == [5, 2]
    assert [turns.ready_after[one.lease] for one in added] == [1, 1, 1, 1, 1, 2, 2]


def test_who_shares_a_prompt_that_is_being_read_waits_and_others_do_not():
    turns = Turns(slots=8, chunk=200)
    first, alike = turns.add(_prompt(1, 60)), turns.add([*_prompt(1, 50), 7, 8, 9])
    other = turns.add(_prompt(2, 30))
    turns.step(2)

    # What two share is read beside the other; then one of them copies it, and both read on.
    assert turns.together == [2, 2]
    assert (turns.read_of(first), turns.read_of(alike), turns.read_of(other)) == (59, 2, 29)
    assert {turns.ready_after[one.lease] for one in (first, alike, other)} == {1}


def test_a_prompt_that_several_share_is_read_once():
    turns = Turns(chunk=64)
    several = [turns.add(_prompt(1, 500)) for _ in range(4)]

    turns.step(40)

    assert [turns.read_of(one) for one in several] == [499, 0, 0, 0]
    assert all(one.finish_reason for one in several)


def test_only_what_differs_is_read_again():
    turns = Turns(chunk=64)
    several = [turns.add([*_prompt(1, 300), *_prompt(at + 2, 40)]) for at in range(4)]

    turns.step(40)

    assert sorted(turns.read_of(one) for one in several) == [39, 39, 39, 339]


def test_what_is_copied_beside_a_prompt_that_is_read_leaves_its_memory_to_it():
    turns = Turns(max_positions=270)
    turns.add(_prompt(3, 100), max_tokens=1)
    turns.step()
    turns.add(_prompt(1, 61))
    turns.step(2)
    unlike, alike = turns.add(_prompt(2, 71)), turns.add(_prompt(1, 61))

    turns.step()

    assert (turns.read_of(unlike), turns.read_of(alike)) == (70, 0)
    assert turns.ready_after[unlike.lease] == turns.ready_after[alike.lease] == 4


def test_nothing_is_copied_into_a_slot_whose_prompt_is_about_to_be_read():
    turns = Turns()
    turns.add(_prompt(1, 60))
    turns.step()
    older, younger = turns.add(_prompt(1, 200)), turns.add(_prompt(1, 200))
    turns.scheduler.admit()
    taken = next(slot for slot in turns.table if slot.sequence is older)

    assert turns.scheduler.next_reading(50, taken=[taken]) is None

    assert taken.cached_ids == []
    assert [len(slot.cached_ids) for slot in turns.table if slot.sequence is younger] == [60]


def test_a_short_prompt_waits_for_no_more_of_a_long_one_than_it_shares():
    turns = Turns(slots=2)
    long = turns.add(_prompt(1, 3000))
    short = turns.add([*_prompt(1, 60), 7, 7, 7])

    turns.step(3)

    assert turns.ready_after[short.lease] <= 2
    assert turns.read_of(long) + turns.read_of(short) == 300 + 0
    assert turns.read_of(short) == 2


@pytest.mark.parametrize("is_broken", [False, True], ids=["aborted", "failed"])
def test_those_that_wait_for_a_prompt_go_on_when_its_reader_is_gone(is_broken: bool):
    turns = Turns()
    reader, one, other = (turns.add(_prompt(1, 500)) for _ in range(3))
    turns.step(2)

    turns.scheduler.drop(reader, is_broken=is_broken)
    turns.step(30)

    assert turns.read_of(reader) == 200
    assert turns.read_of(one) == (499 if is_broken else 299)
    assert turns.read_of(other) == 0
    assert one.finish_reason and other.finish_reason


def test_one_more_than_there_are_slots_is_refused():
    turns = Turns(slots=2)
    turns.add([1])
    turns.add([1])

    with pytest.raises(NoFreeSlot):
        turns.add([1])


def test_idle_prefixes_give_way_before_any_sequence_does():
    turns = Turns(max_positions=400)
    turns.add(_prompt(1, 300), max_tokens=1)
    turns.step(4)
    assert turns.table.held == 300

    first, second = turns.add(_prompt(2, 150)), turns.add(_prompt(3, 150))
    turns.step(30)

    assert first.finish_reason and second.finish_reason
    assert turns.read_of(first) == turns.read_of(second) == 149


def test_the_youngest_gives_way_and_is_read_again():
    turns = Turns(max_positions=400)
    old, young = turns.add(_prompt(1, 100), max_tokens=200), turns.add(_prompt(2, 100), max_tokens=200)

    turns.step(600)

    assert old.finish_reason and young.finish_reason
    assert turns.read_of(old) == 99
    assert turns.read_of(young) > 200
    assert young.completion_ids == list(range(200_100, 200_300))


def test_a_preempted_sequence_keeps_its_lease_until_it_is_dropped():
    turns = Turns(max_positions=300)
    old, young = turns.add(_prompt(1, 100), max_tokens=150), turns.add(_prompt(2, 100), max_tokens=150)
    turns.step(60)
    assert [slot.sequence for slot in turns.table if slot.sequence] == [old]
    assert turns.scheduler.sequences == (old, young)

    turns.scheduler.drop(young)

    assert turns.scheduler.sequences == (old,)
    turns.step(150)
    assert old.finish_reason and not young.finish_reason


def test_one_that_can_never_run_is_refused_and_one_that_grows_too_long_fails():
    turns = Turns(max_positions=200)
    with pytest.raises(OutOfMemory):
        turns.add(_prompt(1, 201))

    grown = turns.add(_prompt(2, 150), max_tokens=100)
    turns.step(200)

    assert turns.failed == [grown]
    # The token after the last position is still made.
    assert len(grown.completion_ids) == 51
    assert turns.scheduler.sequences == ()


def test_those_that_wait_for_memory_come_back_oldest_first():
    turns = Turns(max_positions=330)
    several = [turns.add(_prompt(number, 60), max_tokens=100) for number in range(4)]
    ended: list[Sequence] = []

    for _ in range(2000):
        turns.step()
        ended += [one for one in several if one.finish_reason and one not in ended]

    assert ended == several


def test_nothing_starves_and_nothing_is_lost_in_a_long_random_run():
    chance = random.Random(11)
    for _ in range(12):
        turns = Turns(
            slots=5,
            max_positions=chance.choice((250, 400, 900, 10_000)),
            chunk=chance.choice((16, 64, 200)),
            slot_length=250,
        )
        running: list[Sequence] = []
        added = 0
        for _ in range(400):
            if added < 60 and chance.random() < 0.3 and len(turns.scheduler.sequences) < 5:
                added += 1
                prompt_ids = _prompt(chance.randrange(3), chance.randrange(1, 120)) + _prompt(
                    added, chance.randrange(9)
                )
                running.append(turns.add(prompt_ids or [1], max_tokens=chance.randrange(1, 100)))
            if running and chance.random() < 0.03:
                dropped = running.pop(chance.randrange(len(running)))
                if dropped in turns.scheduler.sequences:
                    turns.scheduler.drop(dropped, is_broken=chance.random() < 0.5)
            turns.step()
        while turns.scheduler.sequences:
            turns.step()

        for one in running:
            assert one.finish_reason
            first = one.prompt_ids[-1] + 1
            assert one.completion_ids == list(range(first, first + one.dispatch.request.max_tokens))
        assert not turns.failed
