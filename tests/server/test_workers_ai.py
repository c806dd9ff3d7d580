"""The Workers AI dialect over a real server, with the scripted engine."""

import threading

import httpx
import pytest

from tests.harness import TOKEN, Server, script, text_of

STAND_IN_FOR = "@cf/meta/llama-2-7b-chat-int8"


def test_plain_answer_has_the_published_shape(server: Server):
    answer = server.run(prompt=script(pieces=["New", " York"]))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cf-ai-req-id"]
    assert answer.json() == {
        "result": {
            "response": "New York",
            "tool_calls": [],
            "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7},
        },
        "success": True,
        "errors": [],
        "messages": [],
    }


def test_stream_is_data_lines_only_and_ends_with_done(server: Server):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = {"prompt": script(pieces=["New", " York", "\n\n", "🪙"]), "stream": True}

    answer = server.client.post("/client/v4/accounts/acc/ai/run/@jeton/scripted", headers=headers, json=body)

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in answer.headers
    blocks = answer.text.split("\n\n")
    assert blocks == [
        'data: {"response":"New"}',
        'data: {"response":" York"}',
        'data: {"response":"\\n\\n"}',
        'data: {"response":"🪙"}',
        'data: {"response":"","usage":{"prompt_tokens":6,"completion_tokens":5,"total_tokens":11}}',
        "data: [DONE]",
        "",
    ]


def test_chunks_arrive_as_they_are_made(server: Server):
    with server.streaming(prompt=script(tokens=2000, step_seconds=0.05), max_tokens=2000) as stream:
        first = [next(stream) for _ in range(3)]

        # Nearly all of the text has not been made yet.
        assert server.engine("@jeton/scripted")["running"] == 1
    assert all(event.json["response"] for event in first)


def test_model_path_may_be_encoded_and_content_type_may_be_anything(server: Server):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-www-form-urlencoded"}

    answer = server.client.post(
        "/client/v4/accounts/acc/ai/run/@jeton%2Fscripted", headers=headers, content=b'{"prompt":"hi","max_tokens":1}'
    )

    assert answer.status_code == 200


def test_messages_are_answered(server: Server):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": script(pieces=["yes"])}]

    assert server.run(messages=messages).json()["result"]["response"] == "yes"


def test_same_seed_gives_the_same_text_and_another_seed_another(server: Server):
    texts = [server.run(prompt="hi", seed=seed).json()["result"]["response"] for seed in (7, 7, 8)]

    assert texts[0] == texts[1] != texts[2]


def test_max_tokens_ends_the_answer(server: Server):
    usage = server.run(prompt="hi", max_tokens=5).json()["result"]["usage"]

    assert usage["completion_tokens"] == 5


def test_stand_in_answers_under_the_published_name_and_says_so(server: Server):
    answer = server.run(STAND_IN_FOR, prompt="where is new york?")

    assert answer.status_code == 200
    assert answer.headers["x-jeton-served-by"] == "@jeton/scripted"


def test_stand_in_answers_under_the_limits_of_the_model_it_stands_in_for(server: Server):
    assert server.run(STAND_IN_FOR, prompt="hi", max_tokens=1801).json()["errors"][0]["code"] == 5006
    assert server.run(STAND_IN_FOR, prompt="word " * 2049).json()["errors"][0]["code"] == 5021
    assert server.run("@jeton/scripted", prompt="word " * 2049, max_tokens=1).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({}, 400, 5006, "prompt"),
        ({"prompt": ""}, 400, 5006, "prompt"),
        ({"prompt": 5}, 400, 5006, "prompt"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, 400, 5006, "only one"),
        ({"messages": []}, 400, 5006, "messages"),
        ({"messages": [{"role": "king", "content": "b"}]}, 400, 5006, "messages"),
        ({"prompt": "a", "temperature": 5.1}, 400, 5006, "temperature"),
        ({"prompt": "a", "temperature": "hot", "top_k": 51}, 400, 5006, "top_k"),
        ({"prompt": "a", "max_tokens": 10**30}, 400, 5006, "max_tokens"),
        ({"prompt": "a", "seed": 0}, 400, 5006, "seed"),
        ({"prompt": "a", "stream": "yes"}, 400, 5006, "stream"),
        ({"prompt": "a", "max_tokens": 2561}, 400, 5006, "at most 2560 tokens"),
        ({"prompt": "a", "tools": [{"description": "t"}]}, 400, 5006, "tools"),
        ({"prompt": "a", "tools": [{"name": "t"}], "raw": True}, 400, 5006, "tools"),
        ({"prompt": "a", "tool_choice": "required"}, 400, 5006, "tool_choice"),
        ({"prompt": "a", "functions": [{"name": "f", "code": "c"}]}, 400, 5006, "functions"),
        ({"prompt": "a", "lora": "mine"}, 405, 5005, "no LoRA adapters"),
        ({"prompt": "a", "response_format": {"type": "xml"}}, 400, 5006, "response_format"),
        ({"text": "a"}, 400, 5006, "prompt"),
        ({"prompt": "word " * 4097, "max_tokens": 3}, 413, 5021, "(4100) exceeded this model context window limit"),
        ({"prompt": "x" * 1_000_000}, 413, 3006, "too large"),
        ({"prompt": script(fail_at=0), "stream": False}, 500, 5000, "scripted"),
    ],
)
def test_bad_input_is_answered_with_its_code(server: Server, body: dict, status: int, code: int, words: str):
    for is_stream in (False, True):
        answer = server.run(**({"stream": is_stream} | body))

        assert answer.status_code == status
        problem = answer.json()
        assert (problem["success"], problem["result"], problem["messages"]) == (False, {}, [])
        assert problem["errors"][0]["code"] == code
        assert words in problem["errors"][0]["message"]
        assert answer.headers["cf-ai-req-id"] in problem["errors"][0]["message"]


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"prompt": NaN}', b'"a"'])
def test_body_that_is_no_json_object_is_bad_input(server: Server, content: bytes):
    headers = {"Authorization": f"Bearer {TOKEN}"}

    answer = server.client.post("/client/v4/accounts/acc/ai/run/@jeton/scripted", headers=headers, content=content)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5006)


def test_missing_body_is_an_incomplete_request(server: Server):
    headers = {"Authorization": f"Bearer {TOKEN}"}

    answer = server.client.post("/client/v4/accounts/acc/ai/run/@jeton/scripted", headers=headers)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 3003)


def test_unknown_model_is_refused(server: Server):
    answer = server.run("@cf/no/such", prompt="a")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5007)
    assert "No such model @cf/no/such or task" in answer.json()["errors"][0]["message"]


def test_missing_model_without_stand_in_says_how_to_install_it(server: Server):
    answer = server.run("@jeton/missing", prompt="a")

    assert answer.status_code == 503
    assert "Install them with: install it" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({}, 9106),
        ({"Authorization": "Basic abc"}, 9106),
        ({"Authorization": "Bearer"}, 9106),
        ({"Authorization": "Bearer wrong"}, 10000),
        ({"Authorization": f"Bearer {TOKEN}x"}, 10000),
        ({"Authorization": "Bearer " + "y" * 5000}, 10000),
    ],
)
def test_gate_refuses_without_a_good_token(server: Server, header: dict, code: int):
    answer = server.client.post("/client/v4/accounts/acc/ai/run/@jeton/scripted", headers=header, json={"prompt": "a"})

    assert answer.status_code == 401
    problem = answer.json()
    assert (problem["success"], problem["result"]) == (False, None)
    assert problem["errors"][0]["code"] == code


def test_unknown_route_has_the_shape_of_the_api(server: Server):
    answer = server.client.get("/client/v4/accounts/acc/ai/nothing")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, 7000)


def test_failure_half_way_ends_the_stream_without_done(server: Server):
    with server.streaming(prompt=script(tokens=10, fail_at=3)) as stream:
        taken = list(stream)

    assert len(taken) == 4
    assert taken[-1].json["errors"][0]["code"] == 5000
    assert all(event.data != "[DONE]" for event in taken)


def test_model_loads_at_first_use(own_server):
    server = own_server()
    assert "@jeton/scripted-small" not in [engine["model"] for engine in server.processes("engine")]

    answer = server.run("@jeton/scripted-small", prompt="hi", max_tokens=3)

    assert answer.status_code == 200
    assert server.engine("@jeton/scripted-small")["state"] == "idle"


def test_full_queue_and_client_limit_are_answered_with_retry_after(own_server):
    server = own_server(JETON_QUEUE_LENGTH="1", JETON_CLIENT_LIMIT="3")
    slow = script(tokens=20, step_seconds=0.1)
    answers: list[httpx.Response] = []
    model = "@jeton/scripted-small"
    server.run(model, prompt="hi", max_tokens=1)
    threads = [
        threading.Thread(target=lambda: answers.append(server.run(model, prompt=slow, max_tokens=20))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    # Two run and one waits: its client may have no fourth, and the line has no second place.
    while server.state()["waiting"] != {model: 1}:
        pass

    refused = server.run(model, prompt="hi")
    busy = server.run(model, prompt="hi", options={"rejectIfBusy": True})
    # The playground has statuses of its own: 429 is for one's own limit.
    full = server.reader().post(model=model, prompt="hi")

    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    for answer in (refused, busy):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (429, 3040)
        assert int(answer.headers["Retry-After"]) >= 1
    assert (full.status_code, 'data-code="PoolOverloaded"' in full.text) == (503, True)
    assert int(full.headers["Retry-After"]) >= 1


def test_reader_who_leaves_frees_the_engine_at_once(server: Server):
    with server.streaming(prompt=script(tokens=2000, step_seconds=0.05), max_tokens=2000) as stream:
        next(stream)
        assert server.engine("@jeton/scripted")["running"] == 1
    # No grace for an API stream: the connection's end is the end.
    for _ in range(200):
        if server.engine("@jeton/scripted")["running"] == 0:
            return
    raise AssertionError("the generation still runs")


def test_sixteen_streams_progress_together_and_an_abort_disturbs_none(server: Server):
    texts: dict[int, str] = {}
    ends: dict[int, tuple[float, float]] = {}

    def read(number: int) -> None:
        with server.streaming(prompt=script(tokens=30, step_seconds=0.05), seed=number + 1) as stream:
            if number == 5:
                next(stream)
                return
            taken = list(stream)
        texts[number] = text_of(taken)
        ends[number] = (taken[0].at, taken[-1].at)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    alone = {
        number: server.run(prompt=script(tokens=30), seed=number + 1).json()["result"]["response"] for number in texts
    }
    assert len(texts) == 15
    assert texts == alone
    assert max(first for first, _ in ends.values()) < min(last for _, last in ends.values())


def test_one_connection_carries_many_requests_one_after_the_other(server: Server):
    # A watcher that outlived its answer would wait on the socket that the next request is read from.
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        path = "/client/v4/accounts/acc/ai/run/@jeton/scripted"
        for number in range(50):
            body = {"prompt": "hi", "max_tokens": 2, "stream": number % 2 == 0}
            assert client.post(path, json=body).status_code == 200
            assert client.get("/healthz").status_code == 200
