"""The slot engine against the plain model, in fp32 with real weights: every token id equal."""

from collections.abc import Iterable

import pytest
import torch
from msgspec.structs import replace

from tests.engine.driving import Answer, Drive, Reference, answer_of, dispatch, request, spy_on_prefill
from tests.engine.tiny import tiny_runner
from webapp.engine import scheduler
from webapp.engine.errors import InvalidPrompt
from webapp.engine.model import Chunk
from webapp.engine.slot_model import SlotModel
from webapp.engine.slot_runner import SlotRunner
from webapp.wire.generation import Failed, Finished, GenerationRequest, Message, Usage

_LONG = "The river runs past the old mill, and the miller counts his sacks of grain. " * 20
_PROMPTS = ("Name three colours.", "What is a comet?", "Count from one to nine.", "Write one line about rain.")
_SAMPLED = {"temperature": 0.9, "top_p": 0.95, "max_tokens": 20}


def test_staggered_requests_equal_the_plain_model(runner: SlotRunner, reference: Reference):
    requests = [request(prompt, max_tokens=6 + 3 * at) for at, prompt in enumerate(_PROMPTS)]
    drive = Drive(runner)

    answers = []
    for asked in requests:
        answers.append(drive.start(asked))
        drive.step(3)
    drive.finish()

    for answer, asked in zip(answers, requests, strict=True):
        reference.assert_picks(answer, asked)


def test_a_prompt_read_in_chunks_beside_a_running_stream_equals_the_plain_model(
    runner: SlotRunner, reference: Reference
):
    long, short = request(_LONG + "What does he count?", max_tokens=6), request(_PROMPTS[1])
    drive = Drive(runner)

    running = drive.start(short)
    drive.step(2)
    chunked = drive.start(long)
    drive.step()
    tokens_during_prefill = len(running.token_ids)
    assert not chunked.deltas
    drive.step()
    drive.finish()

    assert tokens_during_prefill >= 2
    assert chunked.started is not None and chunked.started.prompt_tokens > 2 * 128
    reference.assert_picks(chunked, long)
    reference.assert_picks(running, short)


def test_a_prefix_reused_from_a_finished_and_from_a_running_slot_equals_the_plain_model(
    runner: SlotRunner, reference: Reference, monkeypatch: pytest.MonkeyPatch
):
    story = "A fox named Odo lived under a red barn with a grey cat. " * 12
    first, second, third = (request(story + end, max_tokens=10) for end in ("Who is Odo?", "Where?", "Who else?"))
    answer_of(runner, first)
    prefilled = spy_on_prefill(monkeypatch)
    drive = Drive(runner)
    after_finished = drive.start(second)
    drive.step(2)
    beside_running = drive.start(third)
    drive.finish()

    assert sum(prefilled) < 30
    reference.assert_picks(after_finished, second)
    reference.assert_picks(beside_running, third)


def test_the_next_turn_of_a_conversation_reads_only_what_is_new(runner: SlotRunner, reference: Reference):
    opening = "Describe a lighthouse keeper's morning in some detail."
    turn = answer_of(runner, request(opening, max_tokens=20))
    messages = (Message("user", opening), Message("assistant", turn.text), Message("user", "And the evening?"))
    following = request(max_tokens=12, messages=messages)

    reference.assert_picks(answer_of(runner, following), following)


@pytest.mark.parametrize(
    "penalties",
    [
        {"repetition_penalty": 1.3},
        {"frequency_penalty": 0.8},
        {"presence_penalty": 1.5},
        {"repetition_penalty": 1.1, "frequency_penalty": 0.4, "presence_penalty": -0.5},
    ],
    ids=lambda penalties: "-".join(penalties),
)
def test_penalties_equal_the_plain_model_beside_a_stream_without(
    runner: SlotRunner, reference: Reference, penalties: dict[str, float]
):
    plain = request("Repeat the word apple.", max_tokens=14)
    penalised = replace(plain, **penalties)
    drive = Drive(runner)

    answers = drive.start(plain), drive.start(penalised)
    drive.finish()

    reference.assert_picks(answers[0], plain)
    reference.assert_picks(answers[1], penalised)


def test_slots_moved_into_a_smaller_batch_equal_the_plain_model(runner: SlotRunner, reference: Reference):
    short = [request(f"Name the number {number}.", max_tokens=3) for number in range(4)]
    long = request("Tell me about owls.", max_tokens=10)
    drive = Drive(runner)

    for asked in short:
        drive.start(asked)
    answer = drive.start(long)
    drive.finish()

    reference.assert_picks(answer, long)


def test_seeded_text_is_equal_alone_and_in_a_crowd(runner: SlotRunner):
    asked = request("Tell me a story about a kite.", seed=9_999_999_999, **_SAMPLED)
    alone = answer_of(runner, asked)
    drive = Drive(runner)

    for at in range(7):
        drive.start(
            request(f"Tell me about the number {at}.", seed=at, repetition_penalty=1.0 + at % 2 / 5, **_SAMPLED)
        )
    drive.step(2)
    in_a_crowd = drive.start(asked)
    for at in range(8):
        drive.start(request(f"Count to {at}.", seed=at, max_tokens=5 * at + 1, temperature=at % 3 / 2, top_k=at * 20))
    drive.finish()

    assert len(drive.answers) == 16
    assert in_a_crowd.text == alone.text
    assert in_a_crowd.token_ids == alone.token_ids


def test_four_of_one_prompt_cost_one_prefill_and_say_what_each_says_alone(
    runner: SlotRunner, monkeypatch: pytest.MonkeyPatch
):
    fields = _SAMPLED | {"max_tokens": 10}
    four = [request(_LONG[:900] + "What does he count?", seed=seed, **fields) for seed in range(4)]
    expected = [answer_of(runner, asked).token_ids for asked in four]
    runner._scheduler.forget_idle()
    prefilled = spy_on_prefill(monkeypatch)
    drive = Drive(runner)

    answers = [drive.start(asked) for asked in four]
    drive.finish()

    assert answers[0].started is not None
    # The first chunk is read once, and copied; the two tokens that are left are not worth a wait.
    assert prefilled == [256, 2, 2, 2, 2]
    assert answers[0].started.prompt_tokens == 256 + 2 + 1
    assert [answer.token_ids for answer in answers] == expected
    assert len(set(expected)) > 2


def test_a_generation_dispatched_again_in_its_middle_into_a_crowd_continues_the_very_text(runner: SlotRunner):
    asked = request("Tell me a story about a kite.", seed=3, min_p=0.02, **_SAMPLED)
    whole = answer_of(runner, asked)
    cut = len(whole.token_ids) // 2
    shown = "".join(delta.text for delta in whole.deltas if delta.position + len(delta.token_ids) <= cut)
    drive = Drive(runner)
    for at in range(15):
        drive.start(request(f"Count to {at}.", seed=at, max_tokens=8 + at, temperature=at % 3 / 2, min_p=at / 30))
    drive.step(3)

    resumed = drive.start(asked, token_ids=whole.token_ids[:cut])
    drive.finish()

    assert len(drive.answers) == runner.capacity
    assert shown + resumed.text == whole.text
    assert resumed.end == whole.end


def test_preempted_generations_equal_the_plain_model(
    starter_of_length, reference: Reference, monkeypatch: pytest.MonkeyPatch
):
    # Both are let in, and soon one has to give way.
    monkeypatch.setattr(scheduler, "_HEADROOM", 8)
    prefilled = spy_on_prefill(monkeypatch)
    small = starter_of_length(100, max_positions=100)
    requests = [request(f"Tell me a long story about {one}.", max_tokens=40) for one in ("owls", "rain")]
    drive = Drive(small)

    answers = [drive.start(asked) for asked in requests]
    drive.finish()

    assert sum(prefilled) > sum(answer.started.prompt_tokens for answer in answers if answer.started)
    for answer, asked in zip(answers, requests, strict=True):
        reference.assert_picks(answer, asked)


def test_another_seed_gives_another_text(runner: SlotRunner):
    texts = {answer_of(runner, request("Tell me a story.", seed=seed, **_SAMPLED)).text for seed in range(3)}

    assert len(texts) == 3


@pytest.mark.parametrize(
    "fields", [{}, {"repetition_penalty": 1.2, "frequency_penalty": 0.3}], ids=["plain", "penalised"]
)
def test_a_resumed_generation_continues_the_very_text(runner: SlotRunner, fields: dict[str, float]):
    asked = request("Tell me a story about a kite.", **(_SAMPLED | fields))
    whole = answer_of(runner, asked)
    cuts = [whole.deltas[at].position for at in (0, 1, 7, len(whole.deltas) - 1)]

    _assert_each_continues(runner, asked, whole, cuts=cuts)


def test_a_resume_inside_an_emoji_or_a_possible_stop_sequence_continues_the_very_text(runner: SlotRunner):
    # The plain continuation of a list the model copies: characters of several tokens each.
    asked = request("🧊🧊🧊🧊🧊🧊", raw=True, max_tokens=14, stop=("🧊🧊x", "🧊y"))
    whole = answer_of(runner, asked)
    assert "🧊🧊" in whole.text
    assert any(len(delta.token_ids) > 1 for delta in whole.deltas)

    _assert_each_continues(runner, asked, whole, cuts=range(len(whole.token_ids)))


def _assert_each_continues(runner: SlotRunner, asked: GenerationRequest, whole: Answer, *, cuts: Iterable[int]) -> None:
    """Engines that take the generation over after so many tokens continue its text, all of them at once."""
    drive = Drive(runner)
    resumed = {cut: drive.start(asked, token_ids=whole.token_ids[:cut]) for cut in cuts}
    drive.finish()

    for cut, answer in resumed.items():
        shown = "".join(delta.text for delta in whole.deltas if delta.position + len(delta.token_ids) <= cut)
        assert shown + answer.text == whole.text
        assert answer.end == whole.end


def test_a_generation_dispatched_complete_only_ends(runner: SlotRunner):
    asked = request("Count from one to nine.", max_tokens=6)
    whole = answer_of(runner, asked)

    resumed = answer_of(runner, asked, token_ids=whole.token_ids)

    assert resumed.text == ""
    assert resumed.end == whole.end
    assert runner.leases == ()


def test_text_ends_before_the_stop_sequence(runner: SlotRunner):
    asked = request("Count from one to nine.", max_tokens=20)
    plain = answer_of(runner, asked).text
    stop = plain[len(plain) // 2 : len(plain) // 2 + 4]

    stopped = answer_of(runner, request("Count from one to nine.", max_tokens=20, stop=(stop, "never said")))

    assert stopped.text == plain[: plain.index(stop)]
    assert isinstance(stopped.end, Finished) and stopped.end.finish_reason == "stop"


def test_max_tokens_is_exact(runner: SlotRunner):
    answer = answer_of(runner, request("Tell me a long story.", max_tokens=5))

    assert answer.started is not None
    assert answer.end == Finished("length", Usage(answer.started.prompt_tokens, 5))
    assert len(answer.token_ids) == 5


def test_a_prompt_of_one_token_and_one_token_to_make_is_served(runner: SlotRunner, reference: Reference):
    asked = request("Hello", raw=True, max_tokens=1)

    answer = answer_of(runner, asked)

    assert answer.started is not None and answer.started.prompt_tokens == 1
    reference.assert_picks(answer, asked)


def test_a_prompt_beyond_the_context_window_of_the_request_fails(runner: SlotRunner):
    fits = request("word " * 40, raw=True, max_tokens=1)
    started = answer_of(runner, fits).started
    assert started is not None

    asked = request("word " * 40, raw=True, max_tokens=1, context_window=started.prompt_tokens - 1)
    refused = answer_of(runner, asked)

    assert isinstance(refused.end, Failed) and refused.end.code == "ContextWindowExceeded"
    assert runner.leases == ()


def test_a_slot_filled_to_its_end_finishes_for_length(starter_of_length, reference: Reference):
    small = starter_of_length(32)
    asked = request("one two three four five six seven", raw=True, max_tokens=1000)

    answer = answer_of(small, asked)

    assert isinstance(answer.end, Finished) and answer.end.finish_reason == "length"
    assert answer.end.usage.total_tokens == 32
    reference.assert_picks(answer, asked)


def test_abort_frees_the_slot_at_once_and_says_nothing(runner: SlotRunner):
    drive = Drive(runner)
    answers = [drive.start(request(f"Tell me about {number}.")) for number in range(runner.capacity)]
    drive.step(2)
    full = drive.start(request("No room for me."))
    assert isinstance(full.end, Failed) and full.end.code == "EngineFull"

    runner.abort(drive.lease(answers[3]))
    said = len(answers[3].deltas)
    in_its_place = drive.start(request("Room for me."))
    drive.step(2)
    runner.abort(-1)

    assert in_its_place.end is None
    assert len(answers[3].deltas) == said and answers[3].end is None


def test_abort_during_prefill_frees_the_slot(runner: SlotRunner):
    drive = Drive(runner)
    answer = drive.start(request(_LONG))
    drive.step()

    runner.abort(drive.lease(answer))

    assert runner.leases == ()
    assert runner.step() == []


def test_a_poison_prompt_fails_alone(runner: SlotRunner, reference: Reference, monkeypatch: pytest.MonkeyPatch):
    prefill = SlotModel.prefill

    def poisoned(model: SlotModel, chunks: list[Chunk]) -> None:
        if any(len(chunk.token_ids) > 60 for chunk in chunks):
            raise torch.OutOfMemoryError("poison")
        prefill(model, chunks)

    monkeypatch.setattr(SlotModel, "prefill", poisoned)
    drive = Drive(runner)
    good = request(_PROMPTS[0])
    healthy, poison = drive.start(good), drive.start(request("Unlike all others: " + "poison " * 80))
    drive.finish()

    assert poison.end == Failed("OutOfMemory", "The engine ran out of memory.")
    reference.assert_picks(healthy, good)


def test_an_invalid_prompt_fails_at_the_start(runner: SlotRunner):
    refused = answer_of(runner, request("", raw=True))

    assert isinstance(refused.end, Failed) and refused.end.code == "InvalidPrompt"


def test_tokens_are_counted_as_they_are_read_also_where_they_are_too_many(runner: SlotRunner):
    asked = [request("Say hello."), request("Say hello.", raw=True), request("word " * 3000)]
    drive = Drive(runner)
    started = [drive.start(replace(each, max_tokens=1)).started for each in asked[:2]]

    counts = [runner.count_tokens(each) for each in asked]

    assert counts[:2] == [each.prompt_tokens for each in started if each]
    assert counts[2] > 3000 > asked[2].context_window
    with pytest.raises(InvalidPrompt):
        runner.count_tokens(request("", raw=True))
    drive.finish()


def test_a_step_with_nothing_running_says_nothing(runner: SlotRunner):
    assert runner.step() == []


def test_memory_grows_with_what_was_cached(runner: SlotRunner):
    before = runner.memory_bytes

    answer_of(runner, request("Something quite new, and longer than before. " * 30, max_tokens=1))

    assert runner.memory_bytes >= before > 400_000_000


def test_a_dispatch_keeps_its_generation_id(runner: SlotRunner):
    sent = dispatch(request("Hi.", max_tokens=2))

    started = runner.start(sent)
    events = [event for _ in range(2) for event in runner.step()]

    assert {(event.generation_id, event.lease) for event in (started, *events)} == {(sent.generation_id, sent.lease)}


def test_a_long_prompt_beside_a_stream_is_read_in_ever_smaller_chunks_each_worth_a_pass(
    monkeypatch: pytest.MonkeyPatch,
):
    prefilled = spy_on_prefill(monkeypatch)
    drive = Drive(runner := tiny_runner(slot_length=1024))
    runner._model.prefill_chunk_beside_streams = 48
    runner._model.cost_of_context = 1 / 100
    drive.start(request("stream", raw=True, max_tokens=200))
    drive.step(2)
    prefilled.clear()

    drive.start(request("long " * 160, raw=True, max_tokens=1))
    drive.step(100)

    assert sum(prefilled) == 5 * 160 - 1
    assert prefilled[0] == 48
    assert prefilled == sorted(prefilled, reverse=True)
    assert min(prefilled[:-1]) >= 8
