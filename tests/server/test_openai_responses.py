"""OpenAI's Responses route over a real server, with the scripted engine: the answer, each event, each refusal."""

import httpx
import pytest

from tests.harness import TOKEN, Event, Server, events, script

MODEL = "@jeton/scripted"
ADDRESSES = ("/v1", "/client/v4/accounts/acc/ai/v1")
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
ARGUMENTS = '{"city": "Paris"}'


def ask(server: Server, address: str = "/v1", *, token: str | None = TOKEN, **body: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return server.client.post(f"{address}/responses", headers=headers, json={"model": MODEL} | body)


def stream(server: Server, address: str = "/v1", **body: object) -> list[Event]:
    answer = ask(server, address, stream=True, **body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream"), answer.text
    return list(events(answer))


def without_ids(response: dict) -> dict:
    """The response without what differs from one to the next."""
    output = [
        {name: value for name, value in item.items() if name not in ("id", "call_id")} for item in response["output"]
    ]
    times = {"created_at": 0, "completed_at": 0 if response["completed_at"] else None}
    return response | times | {"id": "", "output": output}


@pytest.mark.parametrize("address", ADDRESSES)
def test_plain_answer_has_the_published_shape(server: Server, address: str):
    answer = ask(server, address, input=script(pieces=["New", " York"]), instructions="Be brief.", metadata={"a": "b"})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    response = answer.json()
    generation_id = response["id"].removeprefix("resp_")
    assert response["created_at"] <= response["completed_at"]
    assert response == {
        "id": f"resp_{generation_id}",
        "object": "response",
        "created_at": response["created_at"],
        "status": "completed",
        "completed_at": response["completed_at"],
        "error": None,
        "incomplete_details": None,
        "output": [
            {
                "id": f"msg_{generation_id}_0",
                "type": "message",
                "status": "completed",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "New York"}],
                "role": "assistant",
            }
        ],
        "usage": {
            "input_tokens": 6,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 9,
        },
        "background": False,
        "frequency_penalty": 0.0,
        "instructions": "Be brief.",
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {"a": "b"},
        "model": MODEL,
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }


@pytest.mark.parametrize("address", ADDRESSES)
def test_stream_has_the_published_events_and_ends_with_done(server: Server, address: str):
    *taken, done = stream(server, address, input=script(pieces=["New", " York"]))

    assert (done.name, done.data) == ("message", "[DONE]")
    assert [event.name for event in taken] == [event.json["type"] for event in taken]
    assert [event.json["sequence_number"] for event in taken] == list(range(10))
    created, in_progress, *said, completed = [
        {name: value for name, value in event.json.items() if name != "sequence_number"} for event in taken
    ]
    response = created["response"]
    assert (response["status"], response["output"], response["usage"]) == ("in_progress", [], None)
    assert (created["type"], completed["type"]) == ("response.created", "response.completed")
    assert in_progress == {"type": "response.in_progress", "response": response}
    item_id = f"msg_{response['id'].removeprefix('resp_')}_0"
    place = {"item_id": item_id, "output_index": 0, "content_index": 0}
    message = {"id": item_id, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    whole = part | {"text": "New York"}
    finished = message | {"status": "completed", "content": [whole]}
    assert said == [
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {"type": "response.content_part.added", **place, "part": part},
        {"type": "response.output_text.delta", **place, "delta": "New", "logprobs": []},
        {"type": "response.output_text.delta", **place, "delta": " York", "logprobs": []},
        {"type": "response.output_text.done", **place, "text": "New York", "logprobs": []},
        {"type": "response.content_part.done", **place, "part": whole},
        {"type": "response.output_item.done", "output_index": 0, "item": finished},
    ]
    assert completed["response"]["output"] == [finished]
    assert completed["response"]["usage"]["total_tokens"] == 7


def test_calls_are_items_of_their_own_and_none_follows_an_empty_message(server: Server):
    *taken, done = stream(server, input=script(pieces=[CALL, "\n", CALL]), tools=[WEATHER])

    assert done.data == "[DONE]"
    generation_id = taken[0].json["response"]["id"].removeprefix("resp_")
    items = []
    for index in range(2):
        ids = {"id": f"fc_{generation_id}_{index}", "call_id": f"call_{generation_id[:12]}_{index}"}
        items.append(ids | {"type": "function_call", "status": "completed", "arguments": ARGUMENTS, "name": "weather"})
    expected = []
    for index, item in enumerate(items):
        place = {"item_id": item["id"], "output_index": index}
        started = item | {"status": "in_progress", "arguments": ""}
        expected += [
            {"type": "response.output_item.added", "output_index": index, "item": started},
            {"type": "response.function_call_arguments.delta", **place, "delta": ARGUMENTS},
            {"type": "response.function_call_arguments.done", **place, "arguments": ARGUMENTS},
            {"type": "response.output_item.done", "output_index": index, "item": item},
        ]
    said = [{name: value for name, value in event.json.items() if name != "sequence_number"} for event in taken[2:-1]]
    assert said == expected
    assert taken[-1].json["response"]["output"] == items
    assert taken[-1].json["response"]["tools"] == [WEATHER]


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ({"input": script(pieces=["Let", " me see.\n", CALL, "\nSo", "."]), "tools": [WEATHER]}, "mfm"),
        ({"input": script(pieces=["no call"]), "tools": [WEATHER], "tool_choice": "none"}, "m"),
        ({"input": script(pieces=["cut", " off"]), "max_output_tokens": 1}, "m"),
        ({"input": script(pieces=[])}, "m"),
        ({"input": script(pieces=["ab", "🪙"]), "top_logprobs": 1}, "m"),
    ],
)
def test_plain_answer_is_what_the_stream_ends_with(server: Server, body: dict, kinds: str):
    *taken, done = stream(server, **body)
    plain = ask(server, **body).json()

    assert done.data == "[DONE]"
    assert without_ids(taken[-1].json["response"]) == without_ids(plain)
    assert "".join(item["type"][0] for item in plain["output"]) == kinds
    for index, item in enumerate(plain["output"]):
        deltas = [e.json["delta"] for e in taken if e.name.endswith("delta") and e.json["output_index"] == index]
        said = item["content"][0]["text"] if item["type"] == "message" else item["arguments"]
        assert "".join(deltas) == said


def test_answer_that_max_output_tokens_has_cut_off_is_incomplete(server: Server):
    *taken, done = stream(server, input=script(pieces=["cut", " off"]), max_output_tokens=1)

    last = taken[-1].json
    assert (last["type"], done.data) == ("response.incomplete", "[DONE]")
    response = last["response"]
    assert (response["status"], response["completed_at"]) == ("incomplete", None)
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 1


def test_generation_that_fails_half_way_ends_with_a_failed_response_and_without_done(server: Server):
    *_, last = stream(server, input=script(pieces=["half", " way"], fail_at=1))

    assert last.json["type"] == "response.failed"
    response = last.json["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert response["error"]["message"]
    assert (response["output"][0]["status"], response["output"][0]["content"][0]["text"]) == ("incomplete", "half")
    plain = ask(server, input=script(pieces=["half", " way"], fail_at=1))
    assert (plain.status_code, plain.json()["error"]["type"]) == (500, "server_error")


def test_log_probabilities_come_where_they_are_asked_for(server: Server):
    body = {"input": script(pieces=["a", "b"]), "include": ["message.output_text.logprobs"]}

    bare, ranked = (ask(server, **body, top_logprobs=count).json()["output"][0]["content"][0] for count in (0, 2))

    assert [(one["token"], one["bytes"], one["top_logprobs"]) for one in bare["logprobs"]] == [
        ("a", [97], []),
        ("b", [98], []),
    ]
    assert [[other["token"] for other in one["top_logprobs"]] for one in ranked["logprobs"]] == [["a", "b"], ["b", "a"]]
    deltas = [event.json for event in stream(server, **body)[2:-1] if event.name.endswith("delta")]
    assert [one["token"] for event in deltas for one in event["logprobs"]] == ["a", "b"]


def test_conversation_with_calls_and_their_results_is_answered(server: Server):
    first = ask(server, input=script(pieces=[CALL]), tools=[WEATHER]).json()
    call = first["output"][0]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": script(pieces=["Rain."])}

    second = ask(server, input=[{"role": "user", "content": "weather?"}, call, result], tools=[WEATHER]).json()

    assert second["output"][0]["content"][0]["text"] == "Rain."


def test_what_is_asked_for_is_repeated(server: Server):
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": None}
    some = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]}
    asked = {"temperature": 0.5, "top_p": 0.5, "user": "u", "max_output_tokens": 5, "safety_identifier": "s"}

    in_json = ask(server, input=script(pieces=["{}"]), text={"format": schema, "verbosity": "low"}, **asked).json()
    with_tools = ask(server, input="hi", tools=[WEATHER], tool_choice=some, store=True, reasoning={"effort": "low"})

    assert in_json["text"] == {"format": schema, "verbosity": "low"}
    assert {name: in_json[name] for name in asked} == asked
    assert (with_tools.json()["tool_choice"], with_tools.json()["store"]) == (some, False)


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({}, 400, "input", "is required"),
        ({"input": 5}, 400, "input", "input"),
        ({"input": [5]}, 400, "input", "input"),
        ({"input": []}, 400, "input", "at least one message"),
        ({"input": [{"role": "king", "content": "hi"}]}, 400, "input[0]", "role must be"),
        ({"input": "hi", "model": "@jeton/none"}, 404, "model", "No such model"),
        ({"input": "hi", "temperature": 2.1}, 400, "temperature", "from 0 to 2"),
        ({"input": "hi", "max_output_tokens": 0}, 400, "max_output_tokens", "at least 1"),
        ({"input": "hi", "max_output_tokens": 2561}, 400, "max_output_tokens", "at most 2560 tokens"),
        ({"input": "hi", "max_output_tokens": 10**30}, 400, "max_output_tokens", "at most 2560 tokens"),
        ({"input": "hi", "top_logprobs": 21}, 400, "top_logprobs", "from 0 to 20"),
        ({"input": "hi", "stream": "yes"}, 400, "stream", "true or false"),
        ({"input": "hi", "metadata": {"a": 1}}, 400, "metadata", "metadata"),
        ({"input": "hi", "metadata": {str(n): "" for n in range(17)}}, 400, "metadata", "metadata"),
        ({"input": "hi", "text": {"format": {"type": "json_schema"}}}, 400, "text", "needs a name and a schema"),
        ({"input": "hi", "tools": [{"type": "web_search"}]}, 400, "tools[0]", "no web_search"),
        ({"input": "hi", "tools": [WEATHER, {"type": "function"}]}, 400, "tools[1]", "name"),
        ({"input": "hi", "tool_choice": "required"}, 400, "tool_choice", "no tools"),
        ({"input": "hi", "tool_choice": {"type": "mcp"}}, 400, "tool_choice", "must be auto"),
        ({"input": "hi", "previous_response_id": "resp_1"}, 400, "previous_response_id", "not kept"),
        ({"input": "hi", "conversation": {"id": "conv_1"}}, 400, "conversation", "kept"),
        ({"input": "hi", "background": True}, 400, "background", "waits"),
        ({"input": "hi", "prompt": {"id": "pmpt_1"}}, 400, "prompt", "templates"),
        ({"input": "hi", "truncation": "auto"}, 400, "truncation", "disabled"),
        ({"input": "word " * 4097, "max_output_tokens": 3}, 400, None, "maximum context length"),
    ],
)
def test_refusal_names_the_field_before_anything_is_streamed(
    server: Server, body: dict, status: int, param: str | None, words: str
):
    for is_stream in (False, True):
        answer = ask(server, **({"stream": is_stream} | body))

        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        error = answer.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert words in error["message"]


def test_refusal_under_the_account_comes_in_the_envelope(server: Server):
    answer = ask(server, ADDRESSES[1], input="hi", temperature=3)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == 5006
    assert "temperature" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_without_a_token_there_is_no_answer(server: Server, address: str):
    assert ask(server, address, token=None, input="hi").status_code == 401


def test_stand_in_answers_under_the_name_that_was_asked_for(server: Server):
    answer = ask(server, input="hi", model="@cf/meta/llama-2-7b-chat-int8", max_output_tokens=1)

    assert answer.headers["x-jeton-served-by"] == MODEL
    assert answer.json()["model"] == "@cf/meta/llama-2-7b-chat-int8"
