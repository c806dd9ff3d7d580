"""Log-probabilities are the model's own, and stand beside the tokens they belong to."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.engine.driving import Drive, Reference, answer_of, request
from tests.engine.tiny import tiny_runner
from webapp.engine.chat_template import prompt_token_ids
from webapp.engine.logprobs import LEAST_LOGPROB, row_logprobs
from webapp.engine.slot_runner import SlotRunner


def test_each_row_has_what_it_asked_for():
    torch.manual_seed(0)
    logits = torch.randn(4, 50)
    expected = logits.log_softmax(-1)

    rows = row_logprobs(logits, [3, 4, 5, 6], [None, 0, 2, 60])

    assert rows[0] is None
    assert rows[1] is not None and rows[1].top == []
    assert rows[2] is not None and rows[3] is not None
    assert rows[1].chosen == pytest.approx(float(expected[1, 4]), abs=1e-6)
    assert [token_id for token_id, _ in rows[2].top] == expected[2].topk(2).indices.tolist()
    assert [value for _, value in rows[3].top] == pytest.approx(expected[3].sort(descending=True).values.tolist())


def test_what_cannot_be_is_very_unlikely_and_still_a_number():
    (row,) = row_logprobs(torch.tensor([[0.0, -torch.inf]]), [1], [2])

    assert row is not None
    assert row.chosen == LEAST_LOGPROB
    assert row.top == [(0, 0.0), (1, LEAST_LOGPROB)]


@torch.inference_mode()
def test_log_probabilities_are_those_of_the_plain_model_before_all_sampling(
    runner: SlotRunner, reference: Reference, tokenizer: PreTrainedTokenizerFast
):
    asked = request(
        "Name three colours. 🎨",
        max_tokens=12,
        logprobs=5,
        temperature=0.8,
        top_k=40,
        min_p=0.01,
        repetition_penalty=1.2,
        presence_penalty=0.5,
    )
    drive = Drive(runner)
    answer = drive.start(asked)
    beside = drive.start(request("Name three colours."))
    drive.finish()

    prompt_ids, token_ids = prompt_token_ids(tokenizer, asked), list(answer.token_ids)
    logits = reference.model(torch.tensor([prompt_ids + token_ids[:-1]]), use_cache=False).logits[0]
    expected = logits[len(prompt_ids) - 1 :].float().log_softmax(-1)

    assert [one.token_id for one in answer.logprobs] == token_ids
    for one, row in zip(answer.logprobs, expected, strict=True):
        assert one.logprob == pytest.approx(float(row[one.token_id]), abs=1e-3)
        assert [other.logprob for other in one.top] == pytest.approx(row.topk(5).values.tolist(), abs=1e-3)
        assert [other.token_id for other in one.top] == row.topk(5).indices.tolist()
    assert b"".join(one.token_bytes for one in answer.logprobs).decode("utf-8", "replace").startswith(answer.text)
    assert beside.logprobs == ()


def test_the_bytes_of_all_tokens_are_the_text():
    drive = Drive(tiny_runner(slots=20))
    asked = [request("bytes", raw=True, temperature=1.0, seed=seed, logprobs=0, max_tokens=60) for seed in range(20)]
    answers = [drive.start(one) for one in asked]
    drive.finish()

    for answer in answers:
        whole = b"".join(one.token_bytes for one in answer.logprobs)
        assert len(answer.logprobs) == len(answer.token_ids) == 60
        assert whole.decode("utf-8", "replace") == answer.text


def test_a_generation_dispatched_again_goes_on_with_the_same_log_probabilities():
    asked = request("a prompt", raw=True, temperature=1.0, logprobs=3, max_tokens=40)
    whole = answer_of(runner := tiny_runner(), asked)

    for deltas in range(0, len(whole.deltas), 7):
        cut = whole.deltas[deltas].position
        rest = answer_of(runner, asked, token_ids=whole.token_ids[:cut])
        assert [one.token_id for one in rest.logprobs] == list(whole.token_ids[cut:])
        for one, other in zip(rest.logprobs, whole.logprobs[cut:], strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert [top.token_id for top in one.top] == [top.token_id for top in other.top]
