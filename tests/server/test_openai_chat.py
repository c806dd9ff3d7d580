"""OpenAI's chat completions over a real server, with the scripted engine."""

import itertools
import os
import signal

import pytest

from tests.harness import TOKEN, Event, Server, events, script, wait_until
from tests.server.openai_requests import ADDRESSES, MODEL, ON_ACCOUNT, V1, Stream, chat, said, stream

STAND_IN_FOR = "@cf/meta/llama-2-7b-chat-int8"
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.mark.parametrize("address", ADDRESSES)
def test_plain_answer_has_openais_shape_at_both_addresses(server: Server, address: str):
    answer = chat(server, address=address, messages=said(pieces=["New", " York"]))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "chat.completion",
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "New York", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7},
    }


@pytest.mark.parametrize("address", ADDRESSES)
def test_stream_begins_with_the_role_and_ends_with_reason_and_done(server: Server, address: str):
    taken = stream(server, address=address, messages=said(pieces=["New", " York", "\n\n", "🪙"]))

    heads = [{name: chunk[name] for name in ("id", "object", "created", "model")} for chunk in taken.chunks]
    assert all(head == heads[0] for head in heads)
    assert (heads[0]["object"], heads[0]["model"]) == ("chat.completion.chunk", MODEL)
    assert taken.headers["x-request-id"]
    assert [(choice["delta"], choice["finish_reason"]) for choice in taken.choices()] == [
        ({"role": "assistant", "content": "", "refusal": None}, None),
        ({"content": "New"}, None),
        ({"content": " York"}, None),
        ({"content": "\n\n"}, None),
        ({"content": "🪙"}, None),
        ({}, "stop"),
    ]
    assert all("usage" not in chunk for chunk in taken.chunks)
    assert taken.is_done


def test_usage_comes_in_a_chunk_of_its_own_where_it_is_asked_for(server: Server):
    taken = stream(server, messages=said(pieces=["a", "b"]), stream_options={"include_usage": True})

    *others, last = taken.chunks
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert taken.is_done


def test_chunks_arrive_as_they_are_made(server: Server):
    taken = stream(server, messages=said(tokens=6, step_seconds=0.1))

    moments = [event.at for event in taken.events[1:7]]
    assert all(later - earlier > 0.02 for earlier, later in itertools.pairwise(moments)), moments


def test_length_ends_an_answer_with_its_reason_and_both_names_of_the_limit_count(server: Server):
    for name in ("max_tokens", "max_completion_tokens"):
        body = chat(server, messages=said(tokens=9), **{name: 3}).json()

        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 3


def test_an_answer_without_a_limit_goes_to_its_own_end(server: Server):
    # Workers AI's route would end it at 256 tokens.
    body = chat(server, messages=said(tokens=300)).json()

    assert (body["choices"][0]["finish_reason"], body["usage"]["completion_tokens"]) == ("stop", 301)


def test_stop_sequence_ends_the_text_before_it(server: Server):
    body = chat(server, messages=said(pieces=["one ", "two ", "three"]), stop=["two", "x"]).json()

    assert body["choices"][0]["message"]["content"] == "one "
    assert body["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("seed", [0, -5, 2**62])
def test_any_whole_number_is_a_seed_and_the_same_one_gives_the_same_text(server: Server, seed: int):
    texts = [
        chat(server, messages=[{"role": "user", "content": "hi"}], seed=given).json()["choices"][0]["message"]
        for given in (seed, seed, seed + 1)
    ]

    assert texts[0] == texts[1] != texts[2]


# --- choices ---


def test_choices_have_consecutive_seeds_and_their_prompt_counts_once(server: Server):
    messages = said(tokens=5)
    alone = [chat(server, messages=messages, seed=seed).json() for seed in (7, 8, 9)]

    body = chat(server, messages=messages, seed=7, n=3).json()

    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert [choice["message"] for choice in body["choices"]] == [one["choices"][0]["message"] for one in alone]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 18, "total_tokens": 20}


def test_choices_of_a_stream_come_side_by_side_and_are_the_same_texts(server: Server):
    messages = said(tokens=8, step_seconds=0.03)
    plain = chat(server, messages=messages, seed=7, n=3).json()

    taken = stream(server, messages=messages, seed=7, n=3, stream_options={"include_usage": True})

    assert [taken.text(index) for index in range(3)] == [choice["message"]["content"] for choice in plain["choices"]]
    for index in range(3):
        choices = taken.choices(index)
        assert choices[0]["delta"]["role"] == "assistant"
        assert [choice["finish_reason"] for choice in choices[1:]] == [None] * 8 + ["stop"]
    order = [chunk["choices"][0]["index"] for chunk in taken.chunks[3:-1]]
    assert order != sorted(order)
    assert taken.chunks[-1]["usage"] == plain["usage"]
    assert taken.is_done


def test_reader_who_leaves_frees_the_places_of_all_choices(server: Server):
    body = {"model": MODEL, "stream": True, "n": 3, "messages": said(tokens=2000, step_seconds=0.05)}
    headers = {"Authorization": f"Bearer {TOKEN}"}

    with server.client.stream("POST", "/v1/chat/completions", headers=headers, json=body) as response:
        # Held: what is thrown away closes the connection.
        taken = events(response)
        next(taken)
        wait_until(lambda: server.engine(MODEL)["running"] == 3, 5)

    wait_until(lambda: server.engine(MODEL)["running"] == 0, 5)


@pytest.mark.parametrize("choices", [1, 3])
def test_failure_half_way_is_the_last_chunk_and_frees_all_places(server: Server, choices: int):
    taken = stream(server, messages=said(tokens=2000, fail_at=3), n=choices)

    assert taken.chunks[-1] == {
        "error": {"message": "scripted", "type": "server_error", "param": None, "code": "generation_failed"}
    }
    assert not taken.is_done
    wait_until(lambda: server.engine(MODEL)["running"] == 0, 5)


@pytest.mark.parametrize("choices", [1, 3])
def test_failure_of_one_choice_fails_a_plain_answer_and_frees_all_places(server: Server, choices: int):
    answer = chat(server, messages=said(tokens=2000, fail_at=3), n=choices)

    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    wait_until(lambda: server.engine(MODEL)["running"] == 0, 5)


def test_choices_go_on_without_a_gap_after_their_engine_is_killed(server: Server):
    messages = said(tokens=12, step_seconds=0.05)
    plain = chat(server, messages=messages, seed=7, n=2).json()
    body = {"model": MODEL, "stream": True, "n": 2, "seed": 7, "messages": messages}
    headers = {"Authorization": f"Bearer {TOKEN}"}

    with server.client.stream("POST", "/v1/chat/completions", headers=headers, json=body) as response:
        taken: list[Event] = []
        for event in events(response):
            taken.append(event)
            if len(taken) == 6:
                os.kill(server.engine(MODEL)["pid"], signal.SIGKILL)

    streamed = Stream(response.headers, taken)
    assert [streamed.text(index) for index in range(2)] == [choice["message"]["content"] for choice in plain["choices"]]
    assert streamed.is_done
    server.wait_until_ready()


def test_more_choices_than_places_wait_for_each_other(server: Server):
    # Two run at once.
    body = chat(server, model="@jeton/scripted-small", messages=said(tokens=4), n=5, seed=1).json()

    assert len({choice["message"]["content"] for choice in body["choices"]}) == 5


# --- logprobs ---


def test_logprobs_come_with_bytes_and_the_likeliest_tokens(server: Server):
    body = chat(server, messages=said(pieces=["a", "🪙"]), logprobs=True, top_logprobs=2).json()

    tokens = body["choices"][0]["logprobs"]["content"]
    assert [token["token"] for token in tokens] == ["a", "🪙"]
    assert tokens[1]["bytes"] == [0xF0, 0x9F, 0xAA, 0x99]
    assert [other["token"] for other in tokens[1]["top_logprobs"]] == ["🪙", "a"]
    assert tokens[1]["logprob"] == tokens[1]["top_logprobs"][0]["logprob"] < 0


def test_streamed_logprobs_are_those_of_the_plain_answer(server: Server):
    request = {"messages": said(pieces=["a", "b", "c"]), "logprobs": True}
    plain = chat(server, **request).json()["choices"][0]["logprobs"]["content"]

    taken = stream(server, **request)

    streamed = [choice["logprobs"]["content"] for choice in taken.choices() if choice["logprobs"]]
    assert [token for tokens in streamed for token in tokens] == plain
    assert all(token["top_logprobs"] == [] for token in plain)


# --- tools and JSON ---


def test_tool_calls_have_ids_and_the_reason_says_so(server: Server):
    body = chat(server, messages=said(pieces=[CALL, CALL]), tools=[WEATHER]).json()

    choice = body["choices"][0]
    stem = body["id"].removeprefix("chatcmpl-")[:12]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {
            "id": f"call_{stem}_{index}",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
        }
        for index in range(2)
    ]


def test_streamed_tool_calls_are_whole_and_numbered(server: Server):
    taken = stream(server, messages=said(pieces=["I look.", CALL, CALL]), tools=[WEATHER])

    deltas = [choice["delta"] for choice in taken.choices()]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    stem = taken.chunks[0]["id"].removeprefix("chatcmpl-")[:12]
    assert taken.text() == "I look."
    assert [(call["index"], call["id"]) for call in calls] == [(0, f"call_{stem}_0"), (1, f"call_{stem}_1")]
    assert calls[0]["type"] == "function"
    assert calls[0]["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert taken.choices()[-1]["finish_reason"] == "tool_calls"


def test_a_conversation_with_calls_and_their_answers_is_read(server: Server):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": script(pieces=["Rain."])},
    ]

    assert chat(server, messages=messages).json()["choices"][0]["message"]["content"] == "Rain."


def test_json_schema_is_unwrapped_and_an_answer_that_is_cut_off_keeps_its_text(server: Server):
    schema = {"name": "city", "strict": True, "schema": {"type": "object"}}
    request = {
        "messages": said(pieces=['{"a"', ":1}"]),
        "response_format": {"type": "json_schema", "json_schema": schema},
    }

    whole, cut = (chat(server, max_tokens=most, **request).json()["choices"][0] for most in (9, 1))

    assert whole["message"]["content"] == '{"a":1}'
    # Workers AI's route answers with an error here.
    assert (cut["message"]["content"], cut["finish_reason"]) == ('{"a"', "length")


# --- refusals ---


@pytest.mark.parametrize(
    ("body", "status", "param", "code", "words"),
    [
        ({}, 400, "messages", None, "is required"),
        ({"messages": []}, 400, "messages", None, "messages"),
        ({"messages": [{"role": "king", "content": "b"}]}, 400, "messages", None, "[0].role must be"),
        ({"messages": said(), "temperature": 2.1}, 400, "temperature", None, "from 0 to 2"),
        ({"messages": said(), "n": 17}, 400, "n", None, "from 1 to 16"),
        ({"messages": said(), "top_logprobs": 2}, 400, "top_logprobs", None, "logprobs"),
        ({"messages": said(), "max_completion_tokens": 2561}, 400, "max_completion_tokens", None, "at most 2560"),
        ({"messages": said(), "functions": [{"name": "f"}]}, 400, "functions", None, "tools"),
        ({"messages": said(), "stop": [""]}, 400, "stop", None, "stop"),
        ({"model": "", "messages": said()}, 400, "model", None, "at least 1 character"),
        ({"model": "gpt-4o", "messages": said()}, 404, "model", "model_not_found", "gpt-4o"),
        ({"model": "@jeton/missing", "messages": said()}, 503, "model", "model_not_installed", "install it"),
        ({"model": "@jeton/scripted-embeddings", "messages": said()}, 400, "model", None, "makes embeddings"),
        (
            {"messages": [{"role": "user", "content": "word " * 4097}]},
            400,
            None,
            "context_length_exceeded",
            "maximum context length",
        ),
        ({"messages": [{"role": "user", "content": "x" * 600_000}]}, 413, None, "request_too_large", "too large"),
    ],
)
def test_refusal_comes_before_a_stream_in_openais_shape(
    server: Server, body: dict, status: int, param: str | None, code: str | None, words: str
):
    for more in ({}, {"stream": True}, {"stream": True, "n": 2}):
        answer = chat(server, **(more | body))

        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["param"], error["code"]) == (param, code)
        assert words in error["message"]


@pytest.mark.parametrize(
    ("body", "status", "number"),
    [
        ({"messages": said(), "temperature": 2.1}, 400, 5006),
        ({"model": "gpt-4o", "messages": said()}, 400, 5007),
        ({"messages": [{"role": "user", "content": "word " * 4097}]}, 413, 5021),
    ],
)
def test_refusal_on_an_account_comes_in_cloudflares_envelope(server: Server, body: dict, status: int, number: int):
    answer = chat(server, address=ON_ACCOUNT, **body)

    assert (answer.status_code, answer.json()["success"]) == (status, False)
    assert answer.json()["errors"][0]["code"] == number
    assert answer.headers["cf-ai-req-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(("token", "code"), [(None, None), ("wrong", "invalid_api_key")])
def test_gate_refuses_without_a_good_token(server: Server, token: str | None, code: str | None):
    own = chat(server, token=token, messages=said())
    on_account = chat(server, address=ON_ACCOUNT, token=token, messages=said())

    assert (own.status_code, own.json()["error"]["code"]) == (401, code)
    assert (on_account.status_code, on_account.json()["success"]) == (401, False)


def test_clients_are_told_not_to_try_again_what_lasts(server: Server):
    for address in ADDRESSES:
        answer = chat(server, address=address, model="@jeton/missing", messages=said())

        assert answer.headers["x-should-retry"] == "false"


def test_stand_in_answers_under_the_name_that_was_asked_for_and_says_so(server: Server):
    answer = chat(server, model=STAND_IN_FOR, messages=said(tokens=2))
    taken = stream(server, model=STAND_IN_FOR, messages=said(tokens=2))

    assert answer.json()["model"] == taken.chunks[0]["model"] == STAND_IN_FOR
    assert answer.headers["x-jeton-served-by"] == taken.headers["x-jeton-served-by"] == MODEL


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", f"{V1}/nothing", 404, "Invalid URL (GET /v1/nothing)"),
        ("GET", f"{V1}/chat/completions", 405, "Not allowed to GET on /v1/chat/completions"),
        ("POST", f"{V1}/models", 405, "Not allowed to POST on /v1/models"),
    ],
)
def test_a_route_that_is_none_is_refused_in_openais_shape(
    server: Server, method: str, path: str, status: int, words: str
):
    answer = server.client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["x-request-id"]
    assert answer.json() == {"error": {"message": words, "type": "invalid_request_error", "param": None, "code": None}}
