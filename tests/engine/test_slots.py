"""What the table says a slot holds is what the cache holds."""

import random

import pytest

from tests.engine.driving import PlainText, dispatch, request
from webapp.engine.sequence import Sequence
from webapp.engine.slots import Reuse, Slot, SlotTable, common_prefix


class ListedCache:
    """Each position holds the token id that was written there, or None."""

    def __init__(self, slots: int, slot_length: int = 400) -> None:
        self.rows: list[list[int | None]] = [[None] * slot_length for _ in range(slots)]
        self.fails = False

    def write(self, index: int, token_ids: list[int], *, start: int) -> None:
        self.rows[index][start : start + len(token_ids)] = token_ids

    def copy(self, source: int, target: int, *, length: int) -> None:
        self.rows[target][:length] = self.rows[source][:length]

    def swap(self, one: int, other: int, *, length: int) -> None:
        if self.fails:
            self.rows[one][:length] = [None] * length
            raise MemoryError
        rows = self.rows
        rows[one][:length], rows[other][:length] = rows[other][:length], rows[one][:length]

    def forget(self, index: int, *, start: int = 0) -> None:
        self.rows[index][start:] = [None] * len(self.rows[index][start:])


def sequence(prompt_ids: list[int], *, max_tokens: int = 24, arrival: int = 0) -> Sequence:
    asked = request(max_tokens=max_tokens)
    return Sequence(dispatch(asked), prompt_ids, PlainText(), frozenset(), arrival=arrival)


def assert_true(table: SlotTable, cache: ListedCache) -> None:
    """Everything the table says of its slots holds for the cache."""
    for index, slot in enumerate(table):
        row = cache.rows[index]
        assert slot.index == index
        assert row[: len(slot.cached_ids)] == slot.cached_ids
        assert all(position is None for position in row[slot.held :])
        assert slot.held >= len(slot.cached_ids)


def _table(*held: list[int]) -> tuple[SlotTable, ListedCache]:
    cache = ListedCache(len(held))
    table = SlotTable(len(held), cache)
    for slot, token_ids in zip(table, held, strict=True):
        cache.write(slot.index, token_ids, start=0)
        slot.extend(token_ids)
        table.release(slot)
    return table, cache


def test_the_slot_that_holds_most_of_the_prompt_is_chosen_and_keeps_it():
    table, _ = _table(*(list(range(at * 100, at * 100 + 50)) for at in range(3)))

    slot, keep = table.choose([*range(100, 130), 7, 7, 7])

    assert (slot.index, keep) == (1, 30)


def test_a_slot_that_would_lose_much_is_left_as_it_is():
    table, _ = _table(*(list(range(at * 100, at * 100 + 50)) for at in range(3)))

    slot, keep = table.choose([*range(20), 7, 7, 7])

    assert (slot.index, keep) == (1, 0)
    assert table.longest_prefix([*range(20), 7, 7, 7]) == Reuse(next(iter(table)), 20)


def test_the_newest_token_is_never_reused():
    table, _ = _table(list(range(50)))

    assert table.choose(list(range(50)))[1] == 49


def test_an_empty_slot_is_taken_before_one_that_holds_something():
    table, _ = _table(list(range(50)), [], list(range(50)))

    assert table.choose([7] * 30)[0].index == 1


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 31, 32, 100])
def test_a_common_prefix_is_counted_exactly_and_a_short_one_not_at_all(length: int):
    one = [*range(length), 1000]
    expected = length if length >= 16 else 0

    assert common_prefix(one, [*range(length), 2000, 3]) == expected
    assert common_prefix(one, list(range(length))) == expected
    assert common_prefix([], one) == 0


def test_ready_slots_move_to_the_front_and_keep_what_they_hold():
    table, cache = _table([1] * 20, [2] * 30, [3] * 25, [4] * 40)
    last = list(table)[3]
    table.hold(last, sequence([4] * 41), keep=40)

    rows = table.gather(batch=lambda count: count)

    assert rows == 1
    assert last.index == 0
    assert_true(table, cache)


def test_a_move_that_fails_leaves_nothing_that_is_not_so():
    table, cache = _table([1] * 20, [2] * 30, [3] * 25, [4] * 40)
    last = list(table)[3]
    table.hold(last, sequence([4] * 41), keep=40)
    cache.fails = True

    with pytest.raises(MemoryError):
        table.gather(batch=lambda count: count)

    assert_true(table, cache)
    assert last.unread == 40


def test_trimmed_and_forgotten_memory_is_given_back():
    table, cache = _table([1] * 50, [2] * 30)
    slot, other = table
    table.hold(slot, sequence([1] * 20), keep=10)
    assert slot.held == 50

    table.trim(slot, spare=5)
    table.forget(other)

    assert (slot.held, other.held, table.held) == (15, 0, 15)
    assert_true(table, cache)


def test_whatever_is_done_the_table_tells_the_truth():
    chance = random.Random(4)
    cache = ListedCache(5)
    table = SlotTable(5, cache)
    for _ in range(3000):
        slot = chance.choice(list(table))
        match chance.randrange(7):
            case 0 if slot.is_free:
                prompt_ids = [chance.randrange(2)] * chance.randrange(20, 300)
                chosen, keep = table.choose(prompt_ids)
                assert chosen.is_free
                table.hold(chosen, sequence(prompt_ids), keep=keep)
            case 1 | 2 | 3 if slot.unread:
                _read(slot, cache, at_most=chance.randrange(1, 100))
            case 4 if any(other.is_ready for other in table):
                table.gather(batch=lambda count: count + count % 2)
            case 5 if not slot.is_free:
                table.release(slot) if chance.random() < 0.7 else table.forget(slot)
            case 6 if slot.sequence:
                reuse = table.longest_prefix(slot.sequence.token_ids)
                if reuse.length > len(slot.cached_ids):
                    table.copy(reuse, slot)
            case _:
                table.trim(slot, spare=chance.randrange(30))
        assert_true(table, cache)


def _read(slot: Slot, cache: ListedCache, *, at_most: int) -> None:
    assert slot.sequence
    start = len(slot.cached_ids)
    token_ids = slot.sequence.token_ids[start:-1][:at_most]
    cache.write(slot.index, token_ids, start=start)
    slot.extend(token_ids)
