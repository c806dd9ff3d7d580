"""A sequence of made-up tokens: limits, ends, and taking over what another engine began."""

import pytest

from webapp.engine.sequence import Sequence
from webapp.engine.tool_calls import ToolCallParser, ToolFormat
from webapp.wire.generation import (
    ChosenTokenLogprob,
    Delta,
    Failed,
    Finished,
    FinishReason,
    GenerationRequest,
    ToolCall,
    Usage,
)
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


_CALL = '{"name":"f"}'


class CharacterDetokenizer:
    """A token id is the character of that number."""

    def push(self, token_id: int) -> str:
        return chr(token_id)

    def flush(self) -> str:
        return ""


def _calling(*, token_ids: tuple[int, ...] = (), is_single: bool = False, stop: tuple[str, ...] = ()) -> Sequence:
    request = GenerationRequest(model="m", context_window=10, max_tokens=100, seed=1, prompt="p", stop=stop)
    dispatch = Dispatch(generation_id="g", lease=1, request=request, token_ids=token_ids)
    parser = ToolCallParser(ToolFormat("<<", ">>"), {"f"}, is_single=is_single)
    return Sequence(dispatch, [5], CharacterDetokenizer(), frozenset({_END}), tool_calls=parser)


def _ids(text: str) -> list[int]:
    return [ord(character) for character in text]


def test_a_call_comes_with_the_token_that_completes_it_and_no_text():
    events = _events(_calling(), [*_ids(f"a<<{_CALL}>>b"), _END])

    call = Delta(1, "", tuple(_ids(f"<<{_CALL}")), tool_calls=(ToolCall("f", "{}"),))
    assert events == [Delta(0, "a", (97,)), call, Delta(15, "b", tuple(_ids(">>b"))), Finished("stop", Usage(1, 19))]


def test_the_only_call_ends_the_sequence():
    events = _events(_calling(is_single=True), _ids(f"<<{_CALL}"))

    assert events == [
        Delta(0, "", tuple(_ids(f"<<{_CALL}")), tool_calls=(ToolCall("f", "{}"),)),
        Finished("stop", Usage(1, 14)),
    ]


def test_a_call_that_never_ends_is_text_at_the_end():
    events = _events(_calling(), [*_ids('a<<{"name"'), _END])

    assert "".join(event.text for event in events if isinstance(event, Delta)) == 'a<<{"name"'


def test_stop_sequences_are_looked_for_in_the_text_not_in_calls():
    events = _events(_calling(stop=("me", "ok")), _ids(f"<<{_CALL}>>is ok"))

    assert [call.name for event in events if isinstance(event, Delta) for call in event.tool_calls] == ["f"]
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "is "
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize("cut", range(19))
def test_a_resumed_sequence_makes_the_calls_the_first_had_not(cut: int):
    token_ids = _ids(f"a<<{_CALL}>>b.")
    before = _events(_calling(), token_ids[:cut])

    after = _events(_calling(token_ids=tuple(token_ids[:cut])), [*token_ids[cut:], _END])

    deltas = [event for event in before + after if isinstance(event, Delta)]
    assert "".join(delta.text for delta in deltas) == "ab."
    assert [call.name for delta in deltas for call in delta.tool_calls] == ["f"]
    assert next(event for event in after if isinstance(event, Delta)).position == cut


class Countdown:
    """Complete after so many tokens."""

    def __init__(self, count: int) -> None:
        self._left = count

    @property
    def is_complete(self) -> bool:
        return self._left <= 0

    def advance(self, token_id: int) -> None:
        self._left -= 1

    def allowed(self) -> bytes:
        return b""


@pytest.mark.parametrize("cut", range(3))
def test_a_constraint_that_is_complete_ends_the_sequence_and_counts_earlier_tokens(cut: int):
    dispatch = _sequence(token_ids=(1, 2)[:cut]).dispatch
    sequence = Sequence(dispatch, [5], LetterDetokenizer(), frozenset({_END}), constraint=Countdown(3))

    events = _events(sequence, [1, 2, 3][cut:])

    assert events[-1] == Finished("stop", Usage(1, 3))
    assert sequence.finish_reason == "stop"
