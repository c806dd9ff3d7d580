"""A sequence of made-up tokens: limits, ends, and taking over what another engine began."""

import pytest

from webapp.engine.sequence import Sequence
from webapp.wire.generation import ChosenTokenLogprob, Delta, Failed, Finished, FinishReason, GenerationRequest, Usage
from webapp.wire.messages import Dispatch

_END = 0


class LetterDetokenizer:
    """Token id 1 is a, 2 is b, …; every capital letter waits for the next token."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, token_id: int) -> str:
        letter = chr(ord("a") + token_id - 1) if token_id < 100 else chr(ord("A") + token_id - 101)
        text, self._held = (self._held + letter, "") if letter.islower() else ("", self._held + letter)
        return text

    def flush(self) -> str:
        return self._held


def _sequence(*, token_ids: tuple[int, ...] = (), max_tokens: int = 100, stop: tuple[str, ...] = ()) -> Sequence:
    request = GenerationRequest(model="m", context_window=10, max_tokens=max_tokens, seed=1, prompt="p", stop=stop)
    dispatch = Dispatch(generation_id="g", lease=1, request=request, token_ids=token_ids)
    return Sequence(dispatch, [5, 5, 5], LetterDetokenizer(), frozenset({_END}))


def _events(sequence: Sequence, token_ids: list[int]) -> list:
    return [event.event for token_id in token_ids for event in sequence.append(token_id)]


def test_each_token_makes_a_delta_at_its_position():
    assert _events(_sequence(), [1, 2]) == [Delta(0, "a", (1,)), Delta(1, "b", (2,))]


def test_a_held_character_comes_with_the_token_that_completes_it():
    assert _events(_sequence(), [101, 1]) == [Delta(0, "Aa", (101, 1))]


def test_an_end_token_finishes_without_text():
    assert _events(_sequence(), [1, _END]) == [Delta(0, "a", (1,)), Finished("stop", Usage(3, 2))]


def test_what_is_held_is_shown_at_the_end():
    assert _events(_sequence(max_tokens=1), [101]) == [Delta(0, "A", (101,)), Finished("length", Usage(3, 1))]


def test_a_possible_stop_sequence_is_shown_at_the_end():
    assert _events(_sequence(stop=("abc",)), [1, 2, _END])[0] == Delta(0, "ab", (1, 2, _END))


def test_max_tokens_counts_what_an_earlier_engine_made():
    sequence = _sequence(token_ids=(1, 2), max_tokens=3)

    assert _events(sequence, [3]) == [Delta(2, "c", (3,)), Finished("length", Usage(3, 3))]


def test_the_position_counts_prompt_and_completion():
    assert _sequence(token_ids=(1, 2)).position == 5


@pytest.mark.parametrize("cut", range(6))
def test_a_resumed_sequence_shows_what_the_first_had_not(cut: int):
    token_ids = [1, 101, 102, 2, 3, 4]
    first = _sequence(stop=("cde",))
    shown = "".join(event.text for event in _events(first, token_ids[:cut]) if isinstance(event, Delta))

    second = _sequence(token_ids=tuple(token_ids[:cut]), stop=("cde",))
    rest = [event for event in _events(second, [*token_ids[cut:], _END]) if isinstance(event, Delta)]

    assert shown + "".join(delta.text for delta in rest) == "aABbcd"
    assert rest[0].position == cut


@pytest.mark.parametrize(
    ("token_ids", "fields", "reason"),
    [((1, 2), {"max_tokens": 2}, "length"), ((1, _END), {}, "stop"), ((1, 2, 3), {"stop": ("bc",)}, "stop")],
)
def test_a_sequence_dispatched_complete_has_only_its_end_left(
    token_ids: tuple[int, ...], fields: dict, reason: FinishReason
):
    sequence = _sequence(token_ids=token_ids, **fields)

    assert sequence.finish_reason == reason
    end = sequence.end().event
    assert not isinstance(end, Failed)
    assert end == Finished(reason, Usage(3, len(token_ids)))


def _logprob(token_id: int) -> ChosenTokenLogprob:
    return ChosenTokenLogprob(token_id, b"?", -float(token_id))


def test_log_probabilities_come_with_the_delta_that_carries_their_token_ids():
    sequence = _sequence(stop=("cde",))
    token_ids = [1, 101, 2, 3, 4, 1, _END]

    events = [event.event for token_id in token_ids for event in sequence.append(token_id, _logprob(token_id))]

    deltas = [event for event in events if isinstance(event, Delta)]
    assert [delta.token_ids for delta in deltas] == [(1,), (101, 2), (3, 4, 1)]
    assert [tuple(one.token_id for one in delta.logprobs) for delta in deltas] == [delta.token_ids for delta in deltas]


def test_a_resumed_sequence_has_the_log_probabilities_of_its_own_tokens_only():
    sequence = _sequence(token_ids=(1, 2))

    assert sequence.append(3, _logprob(3))[0].event == Delta(2, "c", (3,), (_logprob(3),))
