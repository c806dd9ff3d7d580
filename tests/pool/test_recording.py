"""The fold of a journal: generations as they were, and every row that cannot be is found."""

import pytest

from tests.pool.driving import submit
from webapp.pool.journal_records import AcceptedRow, EventRow, Record, SegmentRow, Totals
from webapp.pool.recording import Recording
from webapp.wire.generation import Delta, Failed, Finished, Started, Usage

A, B = Delta(0, "a", (7,)), Delta(1, "b", (8, 9))
END = Finished("stop", Usage(4, 3))


def recording(*events: Started | Delta | Finished | Failed) -> Recording:
    fold = Recording()
    fold.take(Record(1.0, [AcceptedRow(submit("g"))]), 1.0)
    for at, event in enumerate(events, start=2):
        fold.take(Record(at, [EventRow("g", event)]), at)
    return fold


def test_generation_is_as_it_was() -> None:
    fold = recording(Started(4, "cpu", "int4"), A, B, END)

    kept = fold.generations["g"]
    assert (kept.text, kept.events, kept.end) == ("ab", [A, B, END], END)
    assert (kept.started, kept.completion_tokens) == (Started(4, "cpu", "int4"), 3)
    assert (kept.accepted_at, kept.started_at, kept.first_token_at, kept.ended_at) == (1.0, 2, 3, 5)
    assert (fold.problems, fold.unended()) == ([], [])
    assert fold.totals == Totals(accepted=1, finished=1)


def test_generation_that_has_not_ended_goes_on() -> None:
    fold = recording(Started(4, "cpu", "int4"), A)

    assert fold.unended() == [fold.generations["g"]]
    assert fold.totals.running == 1


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ((A, Delta(0, "a", (7,))), "g: position 0, where 1 was next"),
        ((A, Delta(2, "c", (9,))), "g: position 2, where 1 was next"),
        ((A, B, END, END), "g: Finished after its end"),
        ((A, Failed("EngineLost", ""), B), "g: Delta after its end"),
        ((A, B, Finished("stop", Usage(4, 2))), "g: 2 tokens at its end, where 3 were sent"),
    ],
)
def test_what_cannot_be_is_found(events: tuple[Delta | Finished | Failed, ...], problem: str) -> None:
    assert recording(*events).problems == [problem]


def test_generation_that_is_accepted_twice_is_found() -> None:
    fold = recording(A)
    fold.take(Record(9.0, [AcceptedRow(submit("g"))]), 9.0)

    assert fold.problems == ["g: accepted twice"]


def test_events_whose_generation_is_in_a_deleted_file_are_left_out() -> None:
    fold = Recording()
    fold.take(Record(1.0, [SegmentRow("boot", Totals(accepted=1))]), 1.0)
    fold.take(Record(2.0, [EventRow("forgotten", END)]), 2.0)

    assert (fold.generations, fold.problems) == ({}, [])
    assert fold.totals == Totals(accepted=1, finished=1)


def test_text_stops_before_a_hole() -> None:
    fold = recording(A, Delta(2, "c", (9,)), Delta(3, "d", (9,)))

    assert fold.generations["g"].events == [A]
    assert fold.unended() == [fold.generations["g"]]
