"""The moments of a journal, over restarts of the pool and of the machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pool.driving import submit
from webapp.pool.journal_clock import JournalClock
from webapp.pool.journal_records import AcceptedRow, Record, SegmentRow, Totals

ROW = AcceptedRow(submit("g"))


def begun(boot_id: str, at: float) -> Record:
    return Record(at, [SegmentRow(boot_id, Totals())])


def on_present_clock(records: list[Record], *, now: float, boot_id: str) -> list[float]:
    clock = JournalClock()
    moments = [clock.read(record) for record in records]
    return [at + clock.behind(now, boot_id=boot_id) for at in moments]


def test_moments_of_this_boot_are_as_they_were_recorded() -> None:
    records = [begun("a", 100.25), Record(101.5, [ROW]), begun("a", 180.0), Record(181.125, [ROW])]

    assert on_present_clock(records, now=200.0, boot_id="a") == [100.25, 101.5, 180.0, 181.125]


def test_text_keeps_its_pace_over_a_restart_of_the_machine() -> None:
    records = [begun("a", 9000.0), Record(9001.0, [ROW]), Record(9001.5, [ROW])]

    # Since the boot as many seconds have passed as it takes to start.
    assert on_present_clock(records, now=20.0, boot_id="b") == [18.5, 19.5, 20.0]


def test_time_between_two_boots_counts_as_nothing() -> None:
    records = [begun("a", 9000.0), Record(9001.0, [ROW]), begun("b", 30.0), Record(32.0, [ROW])]

    assert on_present_clock(records, now=40.0, boot_id="b") == [29.0, 30.0, 30.0, 32.0]
    assert on_present_clock(records, now=5.0, boot_id="c") == [2.0, 3.0, 3.0, 5.0]


@given(
    boots=st.lists(st.lists(st.floats(0, 1e6), min_size=1), min_size=1, max_size=4),
    now=st.floats(0, 1e6),
    is_same_boot=st.booleans(),
)
def test_no_moment_is_before_an_earlier_one_or_after_now(
    boots: list[list[float]], now: float, is_same_boot: bool
) -> None:
    records = [
        record
        for number, moments in enumerate(boots)
        for record in (begun(str(number), moments[0]), *(Record(at, [ROW]) for at in moments))
    ]

    moments = on_present_clock(records, now=now, boot_id=str(len(boots) - 1) if is_same_boot else "present")

    assert moments == sorted(moments)
    assert moments[-1] <= now or moments[-1] == pytest.approx(now, abs=1e-6)
