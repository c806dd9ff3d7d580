"""Two answers to the same request side by side."""

import pytest

from webapp.web.links.comparison import Answer, compare


def answer(text: str, *, device: str = "cpu", finish_reason: str = "stop") -> Answer:
    return Answer(
        text=text, title="A", device=device, precision="bf16", finish_reason=finish_reason, figures={"seconds": 1}
    )


def test_same_text_is_the_same_to_the_last_character():
    comparison = compare(answer("a\r\nb 🪙 "), answer("a\r\nb 🪙 "))

    assert comparison.is_same
    assert comparison.common_characters == 7


@pytest.mark.parametrize(
    ("then", "now", "common", "marked"),
    [
        ("the old coin", "the new coin", "the ", ("old", "new")),
        ("the coin", "the corn", "the co", ("in", "rn")),
        ("one two", "one  two", "one ", ("two", " ")),
        ("one", "one two", "one", ("", " ")),
        ("", "one", "", ("", "one")),
        ("👩🏽 a", "👩🏻 a", "👩", ("🏽", "🏻")),
    ],
)
def test_first_difference_is_marked_in_both(then: str, now: str, common: str, marked: tuple[str, str]):
    comparison = compare(answer(then), answer(now))

    assert not comparison.is_same
    assert comparison.then.common == comparison.now.common == common
    assert (comparison.then.differing, comparison.now.differing) == marked
    for side, text in ((comparison.then, then), (comparison.now, now)):
        assert side.common + side.differing + side.rest == text


def test_answer_that_was_stopped_is_no_difference_where_it_is_the_same_so_far():
    assert compare(answer("one two"), answer("one", finish_reason="abort")).is_cut_short
    assert not compare(answer("one two"), answer("ona", finish_reason="abort")).is_cut_short
    assert not compare(answer("one two"), answer("one")).is_cut_short


def test_other_device_is_another_engine():
    assert compare(answer("a"), answer("a")).has_same_engine
    assert not compare(answer("a"), answer("a", device="cuda")).has_same_engine
