"""JSON mode, tools, embeddings and unusual bodies in the Workers AI dialect, over a real server."""

import gzip
import json
import re

import pytest

from tests.harness import TOKEN, Server, script

EMBEDDINGS = "@jeton/scripted-embeddings"
PATH = "/client/v4/accounts/acc/ai/run/@jeton/scripted"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
JSON_MODES = [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"type": "object"}}]
WEATHER = {"name": "weather", "description": "The weather.", "parameters": {"type": "object", "properties": {}}}
TIME = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}
# A model's words, cut where a token may end. The number is longer than any of Python's or JavaScript's floats.
CALLS = [
    "I look.",
    '\n<tool_call>\n{"name": "weather", "argu',
    'ments": {"city":\n"New York", "n": 12345678901234567890123}}\n</tool_call>',
    '\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>',
]


# --- JSON mode ---


@pytest.mark.parametrize("mode", JSON_MODES, ids=str)
def test_json_mode_answers_with_the_value_itself(server: Server, mode: dict):
    value = ['{"a": ', '[1, 12345678901234567890123,\n "🪙"], ', '"b": null}']

    answer = server.run(prompt=script(pieces=value), response_format=mode)

    assert '"response":{"a":[1,12345678901234567890123,"🪙"],"b":null},' in answer.text
    assert answer.json()["result"]["usage"]["completion_tokens"] == 4


def test_format_of_text_is_no_json_mode(server: Server):
    answer = server.run(prompt=script(pieces=['{"a": 1}']), response_format={"type": "text"})

    assert answer.json()["result"]["response"] == '{"a": 1}'


@pytest.mark.parametrize(
    "pieces", [["{", '"a": 1'], ["Sure! ", "{}"], ["{}", " {}"], ["[" * 5000], ["NaN"], [""]], ids=str
)
def test_answer_that_is_no_whole_json_value_is_an_error(server: Server, pieces: list[str]):
    answer = server.run(prompt=script(pieces=pieces), response_format={"type": "json_object"})

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5024)
    assert answer.json()["errors"][0]["message"].startswith("AiError: JSON Mode couldn't be met: ")


def test_answer_that_max_tokens_has_cut_off_says_so(server: Server):
    body = {"prompt": script(pieces=["{", "}"]), "max_tokens": 1, "response_format": {"type": "json_object"}}

    assert "max_tokens cut it off" in server.run(**body).json()["errors"][0]["message"]


@pytest.mark.parametrize("mode", JSON_MODES, ids=str)
def test_json_mode_does_not_stream(server: Server, mode: dict):
    answer = server.run(prompt="a", stream=True, response_format=mode)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5006)
    assert "JSON mode does not stream" in answer.json()["errors"][0]["message"]


# --- tools ---


def test_tool_calls_come_with_their_arguments_as_objects(server: Server):
    answer = server.run(prompt=script(pieces=CALLS), tools=[WEATHER, TIME])

    result = answer.json()["result"]
    assert result["response"].strip() == "I look."
    assert result["tool_calls"] == [
        {"name": "weather", "arguments": {"city": "New York", "n": 12345678901234567890123}},
        {"name": "time", "arguments": {}},
    ]


@pytest.mark.parametrize(
    ("pieces", "response", "calls"),
    [([*CALLS[1:]], "", ["weather", "time"]), (['{"city": "Paris"}'], {"city": "Paris"}, [])],
    ids=["calls", "a value"],
)
def test_json_mode_beside_tools_answers_with_calls_or_a_value(
    server: Server, pieces: list[str], response: object, calls: list[str]
):
    answer = server.run(prompt=script(pieces=pieces), tools=[WEATHER, TIME], response_format={"type": "json_schema"})

    result = answer.json()["result"]
    assert result["response"] == response
    assert [call["name"] for call in result["tool_calls"]] == calls


def test_streamed_tool_calls_are_whole_numbered_and_before_the_usage(server: Server):
    with server.streaming(prompt=script(pieces=CALLS), tools=[WEATHER, TIME]) as stream:
        taken = list(stream)

    assert taken[-1].data == "[DONE]"
    chunks = [event.json for event in taken[:-1]]
    assert "usage" in chunks[-1]
    assert "".join(chunk["response"] for chunk in chunks).strip() == "I look."
    calls = [call for chunk in chunks[:-1] for call in chunk.get("tool_calls", [])]
    assert [(call["index"], call["name"], call["arguments"]) for call in calls] == [
        (0, "weather", {"city": "New York", "n": 12345678901234567890123}),
        (1, "time", {}),
    ]
    assert [re.fullmatch(r"call_[0-9a-f]{12}_(\d)", call["id"])[1] for call in calls] == ["0", "1"]


def test_what_looks_like_a_call_is_text_where_no_tool_was_offered(server: Server):
    result = server.run(prompt=script(pieces=CALLS)).json()["result"]

    assert (result["response"], result["tool_calls"]) == ("".join(CALLS), [])


# --- embeddings ---


@pytest.mark.parametrize(("text", "count"), [("a", 1), (["a"], 1), (["a", "b", "a"], 3)])
def test_embeddings_come_with_their_shape(server: Server, text: str | list[str], count: int):
    answer = server.run(EMBEDDINGS, text=text)

    assert answer.headers["content-type"] == "application/json"
    result = answer.json()["result"]
    assert set(result) == {"shape", "data"}
    assert result["shape"] == [count, 8]
    assert [len(vector) for vector in result["data"]] == [8] * count
    assert result["data"][0] == result["data"][-1] or count == 2


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({}, 400, 5006, "text: is required"),
        ({"text": ""}, 400, 5006, "text"),
        ({"text": []}, 400, 5006, "text"),
        ({"text": ["a", ""]}, 400, 5006, "text"),
        ({"text": 5}, 400, 5006, "text"),
        ({"text": ["a"] * 2049}, 400, 5006, "at most 2048 texts"),
        ({"text": "a", "pooling": "max"}, 400, 5006, "pooling"),
        ({"text": "a", "pooling": "cls"}, 400, 5006, "pools as its own files say"),
        ({"requests": [{"text": "a"}]}, 400, 5006, "no batches"),
        ({"prompt": "a"}, 400, 5006, "text: is required"),
        ({"text": "word " * 101}, 413, 5021, "context window"),
    ],
    ids=str,
)
def test_bad_texts_to_embed_are_refused(server: Server, body: dict, status: int, code: int, words: str):
    answer = server.run(EMBEDDINGS, **body)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert words in answer.json()["errors"][0]["message"]


# --- how a request may come ---


def test_body_may_be_compressed_and_come_in_chunks(server: Server):
    packed = gzip.compress(json.dumps({"prompt": script(pieces=["yes"])}).encode())
    chunks = (packed[start : start + 5] for start in range(0, len(packed), 5))

    answer = server.client.post(PATH, headers=AUTHORIZED | {"Content-Encoding": "gzip"}, content=chunks)

    assert answer.json()["result"]["response"] == "yes"


def test_encoding_that_is_none_and_hints_of_routing_are_ignored(server: Server):
    headers = AUTHORIZED | {"Content-Encoding": "application/json", "x-session-affinity": "a"}

    answer = server.client.post(f"{PATH}?gateway=x", headers=headers, json={"prompt": script(pieces=["yes"])})

    assert answer.json()["result"]["response"] == "yes"


def test_compressed_body_obeys_the_limit_of_bodies(server: Server):
    bomb = gzip.compress(b'{"prompt": "' + b"x" * 20_000_000 + b'"}')

    answer = server.client.post(PATH, headers=AUTHORIZED, content=bomb)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, 3006)


def test_torn_compressed_body_is_bad_input(server: Server):
    answer = server.client.post(PATH, headers=AUTHORIZED, content=gzip.compress(b'{"prompt": "a"}')[:-4])

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5006)
    assert "AiError: Bad input: body: cannot be decompressed" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_told_which_there_is(server: Server, method: str):
    answer = server.client.request(method, PATH, headers=AUTHORIZED)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (405, 7000)
    assert "POST" in answer.headers["Allow"]
    assert answer.headers["cf-ai-req-id"]
