"""One generation as the pool keeps it: numbers, counts, durations, replay."""

import pytest

from tests.pool.driving import generation
from webapp.wire.generation import Delta, Finished, Queued, Timings, Usage

END = Finished("stop", Usage(3, 3))


def test_events_are_numbered_from_one_without_a_gap() -> None:
    kept = generation("g")

    published = [kept.append(Delta(0, "a", (7,))), kept.append(Delta(1, "b", (8, 9))), kept.append(END)]

    assert [each.event_id for each in published] == [1, 2, 3]
    assert kept.token_ids == [7, 8, 9]
    assert kept.usage() == Usage(0, 3)


def test_token_clears_the_suspicion_that_a_lost_engine_left() -> None:
    kept = generation("g")
    kept.note_loss(is_crash=True)
    assert kept.is_suspect

    kept.append(Delta(0, "a", (7,)))

    assert not kept.is_suspect


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_replay_gives_only_later_events(after: int) -> None:
    kept = generation("g")
    for event in (Delta(0, "a", (7,)), Delta(1, "b", (8,)), END):
        kept.append(event)
    kept.ended_at = 5.0

    assert [each.event_id for each in kept.replay(after)] == [1, 2, 3][after:]


def test_replay_begins_with_the_present_status_while_the_generation_lives() -> None:
    kept = generation("g")
    kept.status = Queued(4)
    kept.append(Delta(0, "a", (7,)))

    assert [(each.event_id, each.event) for each in kept.replay(0)] == [(0, Queued(4)), (1, Delta(0, "a", (7,)))]

    kept.ended_at = 5.0
    assert [each.event_id for each in kept.replay(0)] == [1]


def test_timings_span_waiting_first_token_and_decoding() -> None:
    kept = generation("g", accepted_at=10.0)
    kept.dispatched_at, kept.first_token_at = 12.0, 15.0

    assert kept.timings(21.0) == Timings(queue_time=2.0, time_to_first_token=5.0, decode_time=6.0)


def test_generation_that_never_ran_has_only_waited() -> None:
    kept = generation("g", accepted_at=10.0)

    assert kept.timings(14.0) == Timings(queue_time=4.0, time_to_first_token=4.0, decode_time=0.0)
