"""OpenAI's older completions over a real server, with the scripted engine."""

import pytest

from tests.harness import Server, script
from tests.server.openai_requests import ADDRESSES, MODEL, post, stream


def complete(server: Server, **body: object) -> dict:
    answer = post(server, "completions", **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("address", ADDRESSES)
def test_plain_answer_has_openais_shape_at_both_addresses(server: Server, address: str):
    body = complete(server, address=address, prompt=script(pieces=["New", " York"]))

    assert body.pop("id").startswith("cmpl-")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "text_completion",
        "model": MODEL,
        "choices": [{"index": 0, "text": "New York", "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7},
    }


def test_stream_has_the_text_the_reason_the_usage_and_done(server: Server):
    prompt = script(pieces=["New", " York"])

    taken = stream(server, "completions", prompt=prompt, stream_options={"include_usage": True})

    assert {chunk["object"] for chunk in taken.chunks} == {"text_completion"}
    assert [(choice["text"], choice["finish_reason"]) for choice in taken.choices()] == [
        ("New", None),
        (" York", None),
        ("", "stop"),
    ]
    assert taken.chunks[-1]["choices"] == []
    assert taken.chunks[-1]["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    assert taken.is_done


def test_each_prompt_has_its_choices_one_after_the_other(server: Server):
    prompts = [script(tokens=3), script(pieces=["b"])]

    body = complete(server, prompt=prompts, n=2, seed=5)
    taken = stream(server, "completions", prompt=prompts, n=2, seed=5)

    texts = [choice["text"] for choice in body["choices"]]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert texts[0] == complete(server, prompt=prompts[0], seed=5)["choices"][0]["text"]
    assert texts[1] == complete(server, prompt=prompts[0], seed=6)["choices"][0]["text"]
    assert texts[2:] == ["b", "b"]
    # Each prompt once, each text with its end.
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 12, "total_tokens": 16}
    streamed = ["".join(choice["text"] for choice in taken.choices(index)) for index in range(4)]
    assert streamed == texts


def test_an_answer_without_a_limit_ends_after_256_tokens(server: Server):
    body = complete(server, prompt=script(tokens=300))

    assert (body["choices"][0]["finish_reason"], body["usage"]["completion_tokens"]) == ("length", 256)


def test_echo_puts_the_prompt_before_the_text(server: Server):
    prompt = script(pieces=["b"])

    body = complete(server, prompt=prompt, echo=True, n=2)
    taken = stream(server, "completions", prompt=prompt, echo=True, n=2)

    assert [choice["text"] for choice in body["choices"]] == [f"{prompt}b"] * 2
    assert ["".join(choice["text"] for choice in taken.choices(index)) for index in range(2)] == [f"{prompt}b"] * 2


def test_logprobs_have_the_older_shape_with_offsets_into_the_text(server: Server):
    request = {"prompt": script(pieces=["a", "🪙", "b"]), "logprobs": 1}

    logprobs = complete(server, **request)["choices"][0]["logprobs"]
    taken = stream(server, "completions", **request)

    assert logprobs["tokens"] == ["a", "🪙", "b"]
    assert logprobs["text_offset"] == [0, 1, 2]
    assert [len(likeliest) for likeliest in logprobs["top_logprobs"]] == [1, 1, 1]
    assert [likeliest["🪙"] for likeliest in logprobs["top_logprobs"][1:2]] == logprobs["token_logprobs"][1:2]
    streamed = [choice["logprobs"] for choice in taken.choices() if choice["logprobs"]]
    for name, values in logprobs.items():
        assert [value for part in streamed for value in part[name]] == values


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "prompt", "is required"),
        ({"prompt": ""}, "prompt", "prompt"),
        ({"prompt": []}, "prompt", "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt", "token ids"),
        ({"prompt": [[1, 2], [3]]}, "prompt", "token ids"),
        ({"prompt": ["a", 1]}, "prompt", "token ids"),
        ({"prompt": ["a"] * 9, "n": 2}, "n", "at most 16"),
        ({"prompt": "a", "best_of": 3}, "best_of", "best_of"),
        ({"prompt": "a", "suffix": "b"}, "suffix", "suffix"),
        ({"prompt": "a", "echo": True, "logprobs": 1}, "echo", "logprobs"),
        ({"prompt": "a", "logit_bias": {"50256": -100}}, "logit_bias", "bias"),
        ({"prompt": "a", "max_tokens": 2561}, "max_tokens", "at most 2560"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(server: Server, body: dict, param: str, words: str):
    answer = post(server, "completions", **body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert words in answer.json()["error"]["message"]
