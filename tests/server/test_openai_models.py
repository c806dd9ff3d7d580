"""OpenAI's models and embeddings over a real server, with the scripted engines."""

import base64
import struct

import pytest

from tests.harness import Server
from tests.server.openai_requests import ADDRESSES, MODEL, get, post

EMBEDDINGS = "@jeton/scripted-embeddings"
STAND_IN_FOR = "@cf/meta/llama-2-7b-chat-int8"


def embed(server: Server, **body: object) -> dict:
    answer = post(server, "embeddings", **({"model": EMBEDDINGS} | body))
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- models ---


@pytest.mark.parametrize("address", ADDRESSES)
def test_models_are_those_that_answer(server: Server, address: str):
    body = get(server, "models", address=address).json()

    assert body["object"] == "list"
    models = {model["id"]: model for model in body["data"]}
    assert {MODEL, STAND_IN_FOR, EMBEDDINGS} <= set(models)
    # One is not installed, the other needs more memory than any machine has.
    assert not {"@jeton/missing", "@jeton/scripted-huge"} & set(models)
    assert isinstance(models[MODEL].pop("created"), int)
    assert models[MODEL] == {
        "id": MODEL,
        "object": "model",
        "owned_by": "jeton",
        "task": "text-generation",
        "description": "Says what the prompt tells it to say.",
        "context_window": 4096,
        "sequence_length": 2560,
    }
    assert (models[STAND_IN_FOR]["owned_by"], models[STAND_IN_FOR]["served_by"]) == ("meta", MODEL)


@pytest.mark.parametrize("model", [MODEL, EMBEDDINGS, "@cf%2Fmeta%2Fllama-2-7b-chat-int8"])
def test_one_model_is_found_by_its_name_raw_or_encoded(server: Server, model: str):
    for address in ADDRESSES:
        assert get(server, f"models/{model}", address=address).json()["id"] == model.replace("%2F", "/")


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [("gpt-4o", 404, "model_not_found"), ("@jeton/missing", 503, "model_not_installed")],
)
def test_a_model_that_does_not_answer_is_refused(server: Server, model: str, status: int, code: str):
    answer = get(server, f"models/{model}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


# --- embeddings ---


@pytest.mark.parametrize("address", ADDRESSES)
def test_embeddings_come_one_for_each_text_in_their_order(server: Server, address: str):
    body = embed(server, address=address, input=["one", "two words"])

    assert (body["object"], body["model"]) == ("list", EMBEDDINGS)
    assert [(one["object"], one["index"], len(one["embedding"])) for one in body["data"]] == [
        ("embedding", 0, 8),
        ("embedding", 1, 8),
    ]
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_one_text_is_embedded_as_a_list_of_one(server: Server):
    assert embed(server, input="one")["data"] == embed(server, input=["one"])["data"]


def test_base64_holds_the_same_numbers(server: Server):
    numbers = embed(server, input="one")["data"][0]["embedding"]
    text = embed(server, input="one", encoding_format="base64", dimensions=8)["data"][0]["embedding"]

    assert list(struct.unpack("<8f", base64.b64decode(text))) == numbers


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "input", "is required"),
        ({"input": ""}, "input", "empty"),
        ({"input": []}, "input", "one text"),
        ({"input": [1, 2]}, "input", "token ids"),
        ({"input": [[1, 2]]}, "input", "token ids"),
        ({"input": "a", "dimensions": 4}, "dimensions", "8 numbers"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "base64 or float"),
        ({"input": "a", "model": MODEL}, "model", EMBEDDINGS),
        ({"input": "word " * 101}, None, "maximum context length"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_its_name(server: Server, body: dict, param: str | None, words: str):
    answer = post(server, "embeddings", **({"model": EMBEDDINGS} | body))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert words in answer.json()["error"]["message"]
