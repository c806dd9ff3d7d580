"""The Worker binding over a real server: the tensors of @cloudflare/ai 1.0.x, to the byte."""

import gzip
import json

import pytest

from tests.harness import TOKEN, Server, script
from tests.server.binding_calls import HELLO, MODEL, PROXY, V1, call, error_of, tensors


@pytest.mark.parametrize("is_compressed", [True, False])
def test_tensors_are_answered_with_one_tensor(server: Server, *, is_compressed: bool):
    body = json.dumps(tensors()).encode()

    answer = call(server, V1, gzip.compress(body) if is_compressed else body, content_encoding="gzip")

    assert answer.headers["content-type"] == "application/json"
    assert answer.text == '{"result":[{"type":"str","shape":[1],"name":"name","value":["Hello world🪙"]}]}'


def test_oldest_package_sends_no_stream_and_a_relative_url(server: Server):
    body = tensors()
    del body["stream"]

    answer = call(server, "https://fake-host/run", gzip.compress(json.dumps(body).encode()))

    assert answer.json()["result"][0]["value"] == ["Hello world🪙"]


def test_stream_of_tensors_has_one_for_each_piece(server: Server):
    answer = call(server, V1, tensors(stream=True))

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text.split("\n\n") == [
        'data: {"result":[{"type":"str","shape":[1],"name":"name","value":["Hello"]}]}',
        'data: {"result":[{"type":"str","shape":[1],"name":"name","value":[" world"]}]}',
        'data: {"result":[{"type":"str","shape":[1],"name":"name","value":["🪙"]}]}',
        "data: [DONE]",
        "",
    ]


def test_body_may_come_in_chunks(server: Server):
    headers = {"Authorization": f"Bearer {TOKEN}", "cf-consn-model-id": MODEL, "X-Forwarded": V1}
    packed = gzip.compress(json.dumps(tensors()).encode())

    answer = server.client.post(PROXY, headers=headers, content=(packed[i : i + 7] for i in range(0, len(packed), 7)))

    assert answer.json()["result"][0]["value"] == ["Hello world🪙"]


def test_failed_stream_ends_without_a_tensor_and_without_done(server: Server):
    # The package makes a [DONE] of every stream that ends; what is no tensor makes it fail.
    frames = call(server, V1, tensors(script(tokens=5, fail_at=2), stream=True)).text.split("\n\n")

    assert len(frames) == 4
    assert "result" not in json.loads(frames[2].removeprefix("data: "))
    assert "[DONE]" not in frames


def test_max_tokens_of_a_tensor_is_cut_down_to_the_models_limit(server: Server):
    # The package sends 1800 or 2500 of its own accord, whatever the model.
    answer = call(
        server, V1, tensors(script(tokens=3000), 2500, stream=True), cf_consn_model_id="@jeton/scripted-small"
    )

    assert answer.text.count('"result"') == 20


def test_max_tokens_may_be_left_out(server: Server):
    body = {"input": [{"type": "str", "shape": [1], "name": "INPUT_0", "value": [HELLO]}]}

    assert call(server, V1, body).json()["result"][0]["value"] == ["Hello world🪙"]


def test_vectors_are_a_tensor_too(server: Server):
    body = {"input": [{"type": "str", "shape": [2], "name": "input_text", "value": ["a", "b"]}]}

    answer = call(server, V1, body, cf_consn_model_id="@jeton/scripted-embeddings")

    (tensor,) = answer.json()["result"]
    assert (tensor["type"], tensor["shape"], tensor["name"]) == ("float32", [2, 8], "embeddings")
    assert [len(vector) for vector in tensor["value"]] == [8, 8]


def prompt_tensor(**changes: object) -> dict[str, object]:
    return {"input": [{"type": "str", "shape": [1], "name": "INPUT_0", "value": ["a"]} | changes]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input: is required"),
        ({"input": "a"}, "input"),
        ({"input": []}, "INPUT_0: one tensor of this name"),
        ({"input": prompt_tensor()["input"] * 2}, "INPUT_0: one tensor of this name"),
        ({"input": [{"type": "str"}]}, "input"),
        (prompt_tensor(name="INPUT_9"), "INPUT_0: one tensor of this name"),
        (prompt_tensor(type="text"), "input"),
        (prompt_tensor(type="uint8"), "INPUT_0: must be of type str"),
        (prompt_tensor(shape=[2]), "INPUT_0: its shape [2] is not that of 1 values"),
        (prompt_tensor(shape=[2**62] * 8), "INPUT_0: its shape"),
        (prompt_tensor(shape=[1] * 9), "input"),
        (prompt_tensor(shape=[-1]), "input"),
        (prompt_tensor(shape=[10**30]), "input"),
        (prompt_tensor(value=[5]), "INPUT_0: its values are not of type str"),
        (prompt_tensor(value=[["a"]]), "INPUT_0: its values are not of type str"),
        (prompt_tensor(value=["a", "b"], shape=[2]), "INPUT_0: must hold 1 value"),
        (prompt_tensor(value=[], shape=[0]), "INPUT_0: must hold 1 value"),
        (prompt_tensor(value=[""]), "INPUT_0: must be a text"),
        (tensors("a", "5"), "INPUT_1: its values are not of type uint32"),
        (tensors("a", True), "INPUT_1: its values are not of type uint32"),
        (tensors("a", 1.5), "INPUT_1: its values are not of type uint32"),
        (tensors("a", 0), "INPUT_1: must be a whole number of at least 1"),
        (tensors("a", -3), "INPUT_1: must be a whole number of at least 1"),
        (tensors("a", stream="yes"), "stream: must be true or false"),
    ],
    ids=str,
)
def test_tensors_that_cannot_be_read_are_bad_input(server: Server, body: dict, words: str):
    answer = call(server, V1, body)

    assert answer.status_code == 400
    assert error_of(answer).startswith("AiError: Bad input: ")
    assert words in answer.text
