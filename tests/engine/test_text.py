"""Stop sequences over text that comes in pieces of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.engine.text import StopSequences


def _shown(stop: tuple[str, ...], pieces: list[str]) -> str:
    sequences = StopSequences(stop)
    return "".join(sequences.push(piece) for piece in pieces) + sequences.flush()


def test_text_without_stop_sequences_passes_at_once():
    sequences = StopSequences(())

    assert sequences.push("all of it") == "all of it"
    assert sequences.flush() == ""


def test_what_may_be_the_start_of_a_stop_sequence_is_held_back():
    sequences = StopSequences(("END",))

    assert sequences.push("the E") == "the "
    assert sequences.push("N") == ""
    assert sequences.push("emy") == "ENemy"
    assert not sequences.is_met


def test_text_after_a_stop_sequence_is_never_shown():
    sequences = StopSequences(("END",))

    assert sequences.push("one EN") == "one "
    assert sequences.push("D two") == ""
    assert sequences.is_met
    assert (sequences.push("three"), sequences.flush()) == ("", "")


def test_the_earliest_of_several_stop_sequences_ends_the_text():
    assert _shown(("late", "b"), ["a b late"]) == "a "


def test_an_empty_stop_sequence_is_none():
    assert _shown(("",), ["text"]) == "text"


@pytest.mark.parametrize("stop", [("aab",), ("ab", "ba"), ("aaaa", "b"), ("abab", "bb")])
@given(st.lists(st.text("abc", max_size=4), max_size=12))
def test_pieces_show_what_the_whole_text_shows(stop: tuple[str, ...], pieces: list[str]):
    whole = "".join(pieces)
    # With sequences of different lengths the one that is whole first ends the text, so compare letter by letter.
    assert _shown(stop, list(whole)) == _first_met(stop, whole)
    assert whole.startswith(_shown(stop, pieces))


def _first_met(stop: tuple[str, ...], text: str) -> str:
    for end in range(1, len(text) + 1):
        met = [sequence for sequence in stop if text[:end].endswith(sequence)]
        if met:
            return text[: end - max(map(len, met))]
    return text
