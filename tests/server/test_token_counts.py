"""`POST /tokens`: what the composer shows is what a generation is charged, and asking starts nothing."""

import json

import httpx
import pytest

from tests.harness import Reader, Server

STARTER = "@hf/huggingfacetb/smollm2-135m-instruct"
HISTORY = [
    json.dumps({"role": "user", "content": "What is a jeton?"}),
    json.dumps({"role": "assistant", "content": "A coin."}),
]


def count(reader: Reader, **fields: object) -> httpx.Response:
    form = {"model": "@jeton/scripted", "csrf_token": reader.csrf_token} | fields
    return reader.client.post("/tokens", data=form)


def test_count_is_that_of_all_messages_of_the_form(server: Server):
    answer = count(server.reader(), prompt="one two", system="be brief", history=HISTORY, temperature="hot")

    assert answer.status_code == 200
    assert answer.json() == {"model": "@jeton/scripted", "prompt_tokens": 10, "context_window": 4096}


def test_model_that_is_not_loaded_is_not_counted_and_not_loaded(server: Server):
    answer = count(server.reader(), model="@jeton/scripted-other", prompt="one two")

    assert answer.json() == {"model": "@jeton/scripted-other", "prompt_tokens": None, "context_window": 4096}
    assert server.engine_state("@jeton/scripted-other") in (None, "cold")


def test_stand_in_counts_under_the_limits_of_the_model_that_was_asked_for(server: Server):
    answer = count(server.reader(), model="@cf/meta/llama-2-7b-chat-int8", prompt="one two")

    assert answer.json() == {"model": "@cf/meta/llama-2-7b-chat-int8", "prompt_tokens": 2, "context_window": 2048}


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "@no/such"}, 404, "ModelNotFound"),
        ({"model": "@jeton/missing"}, 503, "ModelNotInstalled"),
        ({"history": "{"}, 400, "InvalidFields"),
        ({"prompt": "x " * 60_000}, 413, "ContextWindowExceeded"),
    ],
    ids=["unknown", "missing", "history", "long"],
)
def test_what_cannot_be_counted_says_why(server: Server, fields: dict[str, str], status: int, code: str):
    answer = count(server.reader(), **({"prompt": "a"} | fields))

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_count_needs_the_csrf_token(server: Server):
    assert count(server.reader(), prompt="a", csrf_token="").status_code == 400


def test_real_model_counts_what_its_generation_then_has(real_server: Server):
    reader = real_server.reader()
    form = {
        "model": STARTER,
        "prompt": "Où est l'été? 🪙\n\n  Two  spaces.",
        "system": "Answer in one word.",
        "history": HISTORY,
        "max_tokens": "1",
    }
    counted = count(reader, **form).json()

    with reader.attached(reader.submit(**form)) as stream:
        usage = next(event.json for event in stream if event.name == "usage")

    assert counted["prompt_tokens"] == usage["prompt_tokens"] > 20
