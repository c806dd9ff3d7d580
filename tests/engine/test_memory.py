"""Bounded memory: preempted sequences say what they would have said, and what is given back is gone."""

import random

import pytest
import torch

from tests.engine.driving import Drive, answer_of, request, spy_on_prefill
from tests.engine.tiny import tiny_runner
from webapp.engine.attention import HeadShape
from webapp.engine.hardware import Processor
from webapp.engine.slot_cache import SlotCache
from webapp.wire.generation import Failed, Finished, GenerationRequest

_HEADS = HeadShape(query=2, key_value=2, head_dim=64, dtype=torch.float32)
_SAMPLED = {"raw": True, "temperature": 1.0}


def _story(at: int, **fields: object) -> GenerationRequest:
    prompt = f"{at} is the number of this prompt, which has some seventy bytes."
    return request(prompt, seed=at + 1, **(_SAMPLED | {"max_tokens": 80} | fields))


@pytest.mark.parametrize("max_positions", [160, 250, 400])
def test_texts_with_preemption_equal_texts_without(max_positions: int):
    stories = [_story(at, repetition_penalty=1.0 + at % 2 / 5, logprobs=2) for at in range(4)]
    roomy = tiny_runner()
    expected = [answer_of(roomy, asked) for asked in stories]
    drive = Drive(runner := tiny_runner(max_positions=max_positions))

    answers = [drive.start(asked) for asked in stories]
    drive.finish()

    assert [answer.text for answer in answers] == [answer.text for answer in expected]
    assert [answer.token_ids for answer in answers] == [answer.token_ids for answer in expected]
    assert [answer.end for answer in answers] == [answer.end for answer in expected]
    for answer, alone in zip(answers, expected, strict=True):
        assert [one.token_id for one in answer.logprobs] == list(answer.token_ids)
        assert [one.logprob for one in answer.logprobs] == pytest.approx(
            [one.logprob for one in alone.logprobs], abs=1e-4
        )
    assert runner.leases == ()


def test_preemption_happens_and_is_read_again(monkeypatch: pytest.MonkeyPatch):
    prefilled = spy_on_prefill(monkeypatch)
    drive = Drive(tiny_runner(max_positions=300))

    answers = [drive.start(_story(at, max_tokens=150)) for at in range(3)]
    drive.finish()

    prompts = sum(answer.started.prompt_tokens - 1 for answer in answers if answer.started)
    assert sum(prefilled) > prompts + 50


def test_a_preempted_generation_is_aborted_like_any_other():
    drive = Drive(runner := tiny_runner(max_positions=200))
    old, young = (drive.start(_story(at, max_tokens=120)) for at in range(2))
    drive.step(70)
    said = len(young.deltas)
    drive.step(5)
    assert len(young.deltas) == said, "the young one waits"
    assert runner.leases == (drive.lease(old), drive.lease(young))

    drive.abort(young)

    assert runner.leases == (drive.lease(old),)
    drive.finish()
    assert isinstance(old.end, Finished) and old.end.usage.completion_tokens == 120
    assert len(young.deltas) == said and young.end is None


def test_a_prompt_that_exceeds_the_memory_is_refused():
    answer = answer_of(tiny_runner(max_positions=40), _story(1))

    assert isinstance(answer.end, Failed) and answer.end.code == "OutOfMemory"


def test_a_generation_that_outgrows_the_memory_alone_fails_and_what_it_said_stays():
    alone = answer_of(tiny_runner(), _story(1))
    drive = Drive(runner := tiny_runner(max_positions=100))

    answer = drive.start(_story(1))
    drive.finish()

    assert isinstance(answer.end, Failed) and answer.end.code == "OutOfMemory"
    assert answer.text and alone.text.startswith(answer.text)
    assert isinstance(answer_of(runner, _story(2, max_tokens=5)).end, Finished)


def test_the_memory_said_to_be_taken_never_exceeds_the_bound():
    runner = tiny_runner(max_positions=300, slots=8)
    empty = runner.memory_bytes
    drive = Drive(runner)
    per_position = 2 * 2 * 2 * 8 * 4

    for at in range(8):
        drive.start(_story(at))
    while runner.leases:
        drive.step()
        assert 0 < runner.memory_bytes - empty <= 300 * per_position


def test_random_work_under_a_bound_says_what_each_says_alone():
    chance = random.Random(8)
    roomy, runner = tiny_runner(slots=5), tiny_runner(slots=5, max_positions=330)
    drive = Drive(runner)
    starts = ("the same start of many prompts, long enough", "another one")
    asked = [
        request(
            chance.choice(starts) + "!" * chance.randrange(60),
            raw=True,
            seed=at,
            temperature=chance.choice((0.0, 1.0)),
            min_p=chance.choice((0.0, 0.05)),
            top_p=chance.choice((1.0, 0.9)),
            max_tokens=chance.randrange(1, 100),
            frequency_penalty=chance.choice((0.0, 0.5)),
        )
        for at in range(30)
    ]
    waiting, answers = list(asked), {}
    while waiting or runner.leases:
        if waiting and len(runner.leases) < runner.capacity and chance.random() < 0.2:
            answers[len(answers)] = drive.start(waiting.pop(0))
        drive.step()

    for at, answer in answers.items():
        assert answer.token_ids == answer_of(roomy, asked[at]).token_ids


def test_forgotten_positions_are_zero_and_their_pages_given_back():
    cache = SlotCache(_HEADS, layers=1, slots=3, slot_length=4000, hardware=Processor())
    keys, _ = cache.layer(0)
    before = _resident_bytes()
    keys.fill_(float("nan"))
    filled = _resident_bytes()

    cache.forget(1)
    cache.forget(2, start=100)

    assert filled - before > 0.9 * keys.nbytes
    assert filled - _resident_bytes() > 0.6 * keys.nbytes
    assert keys[0].isnan().all() and keys[2, :100].isnan().all()
    assert not keys[1].any() and not keys[2, 100:].any()


def test_reading_empty_positions_takes_no_memory():
    cache = SlotCache(_HEADS, layers=1, slots=4, slot_length=4000, hardware=Processor())
    keys, _ = cache.layer(0)
    before = _resident_bytes()

    assert keys.sum() == 0

    assert _resident_bytes() - before < 0.2 * keys.nbytes


def _resident_bytes() -> int:
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Rss:"))
