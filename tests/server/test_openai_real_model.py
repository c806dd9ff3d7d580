"""OpenAI's routes over the shipped catalogue and the real starter model."""

import json
import math

import pytest

from tests.harness import Server
from tests.server.openai_requests import chat, get, post, stream

STARTER = "@hf/huggingfacetb/smollm2-135m-instruct"
MESSAGES = [{"role": "user", "content": "Where is New York? One sentence."}]


@pytest.mark.parametrize("choices", [1, 3])
def test_streamed_text_equals_the_plain_answer_at_temperature_0(real_server: Server, choices: int):
    body = {"model": STARTER, "messages": MESSAGES, "temperature": 0, "max_tokens": 24, "n": choices}

    plain = chat(real_server, **body).json()
    taken = stream(real_server, **body, stream_options={"include_usage": True})

    texts = [choice["message"]["content"] for choice in plain["choices"]]
    assert texts[0]
    assert [taken.text(index) for index in range(choices)] == texts
    assert len(taken.choices()) > 4
    assert taken.chunks[-1]["usage"] == plain["usage"]
    assert taken.is_done


def test_logprobs_say_the_very_text_and_the_likeliest_token_is_taken_at_temperature_0(real_server: Server):
    body = {"model": STARTER, "messages": MESSAGES, "temperature": 0, "max_tokens": 8}

    choice = chat(real_server, **body, logprobs=True, top_logprobs=3).json()["choices"][0]

    tokens = choice["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == choice["message"]["content"]
    assert all(token["logprob"] == token["top_logprobs"][0]["logprob"] for token in tokens)
    assert all(sum(math.exp(other["logprob"]) for other in token["top_logprobs"]) <= 1.001 for token in tokens)


def test_schema_holds_a_streamed_answer(real_server: Server):
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "is_big": {"type": "boolean"}},
        "required": ["city", "is_big"],
        "additionalProperties": False,
    }

    taken = stream(
        real_server,
        model=STARTER,
        messages=[{"role": "user", "content": "A city, as JSON."}],
        response_format={"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}},
        seed=1,
        temperature=1,
        max_tokens=200,
    )

    answer = json.loads(taken.text())
    assert answer["city"] in ("Paris", "Rome")
    assert isinstance(answer["is_big"], bool)
    assert taken.choices()[-1]["finish_reason"] == "stop"


def test_tools_of_a_model_whose_template_takes_none_are_refused_with_a_sentence(real_server: Server):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}

    answer = chat(real_server, model=STARTER, messages=MESSAGES, tools=[tool], stream=True)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_parameter")
    assert "takes no tools" in answer.json()["error"]["message"]


def test_prompt_of_a_completion_goes_to_the_model_as_it_is(real_server: Server):
    body = {"model": STARTER, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 1}

    raw = post(real_server, "completions", **body).json()
    templated = chat(real_server, model=STARTER, messages=[{"role": "user", "content": body["prompt"]}], max_tokens=1)

    assert raw["usage"]["prompt_tokens"] < templated.json()["usage"]["prompt_tokens"]


def test_published_models_are_listed_with_what_stands_in(real_server: Server):
    models = {model["id"]: model for model in get(real_server, "models").json()["data"]}

    assert models["@cf/meta/llama-2-7b-chat-int8"]["served_by"] == STARTER
    assert models[STARTER]["created"] > 0
