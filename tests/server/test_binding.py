"""The Worker binding over a real server: what version 2 and `env.AI` send and read, and by which names it is called."""

import gzip
import re

import pytest

from tests.harness import TOKEN, Server
from tests.server.binding_calls import HELLO, MODEL, UUID, V1, V2, V3, call, error_of, tensors

# --- 1.1.0: version 2 ------------------------------------------------------------------------------


def test_version_2_answers_with_gzip_that_no_header_names(server: Server):
    answer = call(
        server,
        V2,
        {"inputs": {"prompt": HELLO}, "options": {}},
        content_encoding="application/json",
        content_type="text/plain;charset=UTF-8",
    )

    assert answer.headers["content-type"] == "application/json"
    assert "content-encoding" not in answer.headers
    assert (
        gzip.decompress(answer.content)
        == (
            '{"response":"Hello world🪙","tool_calls":[],'
            '"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}}'
        ).encode()
    )


def test_version_2_takes_no_time_to_make_many_vectors_smaller(server: Server):
    # As small as they get, those of a real model took six seconds, in which no stream went on.
    inputs = {"text": [str(number) for number in range(2048)]}

    answer = call(server, V2, {"inputs": inputs}, cf_consn_model_id="@jeton/scripted-embeddings")

    vectors = gzip.decompress(answer.content)
    assert vectors.startswith(b'{"shape":[2048,8],')
    assert len(answer.content) > len(vectors)


@pytest.mark.parametrize("url", [V2, V3])
def test_newer_versions_stream_as_the_rest_route_does(server: Server, url: str):
    answer = call(server, url, {"inputs": {"prompt": HELLO, "stream": True}, "options": {}})

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text.split("\n\n") == [
        'data: {"response":"Hello"}',
        'data: {"response":" world"}',
        'data: {"response":"🪙"}',
        'data: {"response":"","usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}}',
        "data: [DONE]",
        "",
    ]


@pytest.mark.parametrize("url", [V1, V2])
def test_refusal_of_older_versions_is_a_sentence(server: Server, url: str):
    # All that these packages throw is the body, as the message, and the status.
    body = tensors() if url == V1 else {"inputs": {"prompt": HELLO}}

    answer = call(server, url, body, cf_consn_model_id="@cf/no/such")

    assert answer.status_code == 400
    sentence = rf"AiError: No such model: No such model @cf/no/such or task \({UUID}\)"
    assert re.fullmatch(sentence, error_of(answer)), answer.text


# --- 1.2.2 and env.AI: version 3 -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/run", "/ai-gateway/run"])
def test_version_3_answers_with_the_bare_result(server: Server, path: str):
    body = {"inputs": {"prompt": HELLO}, "options": {"gateway": {"id": "g"}, "returnRawResponse": True}}

    answer = call(server, f"https://workers-binding.ai{path}?version=3", body)

    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(UUID, answer.headers["cf-ai-req-id"])
    assert answer.json() == {
        "response": "Hello world🪙",
        "tool_calls": [],
        "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9},
    }


def test_version_3_refuses_with_an_error_that_the_binding_takes_apart(server: Server):
    answer = call(server, V3, {"inputs": {"prompt": HELLO}}, cf_consn_model_id="@cf/no/such")

    request_id = answer.headers["cf-ai-req-id"]
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "name": "AiError",
        "internalCode": 5007,
        "httpCode": 400,
        "message": f"AiError: No such model: No such model @cf/no/such or task ({request_id})",
        "description": "No such model @cf/no/such or task",
        "requestId": request_id,
    }


def test_third_argument_of_run_has_the_options(server: Server):
    answer = call(server, V3, {"inputs": {"prompt": HELLO}, "options": {"rejectIfBusy": "maybe"}})

    assert answer.json()["internalCode"] == 5006
    assert "options" in answer.json()["description"]


def test_vectors_come_in_version_3(server: Server):
    answer = call(server, V3, {"inputs": {"text": ["a"]}}, cf_consn_model_id="@jeton/scripted-embeddings")

    assert answer.json()["shape"] == [1, 8]


def test_models_of_the_binding_are_those_of_the_catalogue(server: Server):
    answer = call(server, "https://workers-binding.ai/ai-api/models/search?per_page=2&page=1", method="GET")

    assert answer.status_code == 200
    assert [row["name"] for row in answer.json()["result"]] == [MODEL, "@jeton/scripted-small"]


def test_bad_search_of_the_binding_is_told_in_the_envelope(server: Server):
    answer = call(server, "https://workers-binding.ai/ai-api/models/search?page=x", method="GET")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5006)


def test_websocket_is_refused_with_a_sentence(server: Server):
    answer = call(server, f"{V3}&body=%7B%7D", method="GET")

    assert (answer.status_code, answer.json()["internalCode"]) == (400, 5006)
    assert "websocket" in answer.json()["description"]


# --- all versions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        (None, 400, 3003),
        ("", 400, 3003),
        ("http://[::1/run", 400, 5006),
        ("/run?" + "&".join(f"a{n}=1" for n in range(60)), 400, 5006),
        ("http://workers-binding.ai/run?version=1", 200, None),
        ("http://workers-binding.ai/run?version=4", 400, 5006),
        ("http://workers-binding.ai/run?version=%00", 400, 5006),
        ("http://workers-binding.ai/elsewhere", 404, 7000),
        ("http://workers-binding.ai/ai-api/models/search", 405, 7000),
        ("run", 404, 7000),
    ],
    ids=str,
)
def test_url_of_the_binding_is_checked(server: Server, url: str | None, status: int, code: int | None):
    answer = call(server, url, tensors())

    assert answer.status_code == status
    if code:
        assert answer.json()["errors"][0]["code"] == code
        assert answer.headers["cf-ai-req-id"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "has no body"),
        (b"{", "JSON object"),
        (gzip.compress(b"{}", mtime=0)[:-3], "cannot be decompressed"),
        ({"inputs": []}, "inputs"),
        ({"inputs": {}}, "prompt"),
        ({"options": {}}, "inputs: is required"),
        ({"inputs": {"prompt": "a"}, "options": 3}, "options"),
        ({"inputs": {"prompt": "a", "max_tokens": 2561}}, "at most 2560 tokens"),
    ],
    ids=str,
)
def test_bad_body_is_refused(server: Server, body: object, words: str):
    answer = call(server, V3, body)

    assert answer.status_code == 400
    assert words in answer.json()["description"]


def test_gzip_bomb_is_too_large(server: Server):
    answer = call(server, V1, gzip.compress(b" " * 50_000_000))

    assert (answer.status_code, error_of(answer)[:34]) == (413, "AiError: Request too large: The re")


def test_model_has_to_be_named(server: Server):
    answer = call(server, V3, {"inputs": {"prompt": "a"}}, cf_consn_model_id="")

    assert (answer.status_code, answer.json()["internalCode"]) == (400, 3003)


@pytest.mark.parametrize("url", [None, V1, V2, V3])
def test_every_version_needs_a_token(server: Server, url: str | None):
    answer = call(server, url, tensors(), token="wrong")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, 10000)


def test_id_that_the_package_gave_is_kept_and_nonsense_is_not(server: Server):
    given = "3a1983d7-1ddd-453a-ab75-c4358c91b582"

    assert call(server, V1, tensors(), cf_ai_req_id=given).headers["cf-ai-req-id"] == given
    assert call(server, V1, tensors(), cf_ai_req_id="x" * 36).headers["cf-ai-req-id"] != "x" * 36


# --- a Worker that is wired to the server itself ---------------------------------------------------


@pytest.mark.parametrize("host", ["workers-binding.ai", "ai.cloudflare.com", "localhost"])
def test_bindings_own_path_answers_by_the_names_that_it_calls(server: Server, host: str):
    headers = {"Authorization": f"Bearer {TOKEN}", "cf-consn-model-id": MODEL, "Host": host}

    answer = server.client.post("/run?version=3", headers=headers, json={"inputs": {"prompt": HELLO}})

    assert answer.json()["response"] == "Hello world🪙"


@pytest.mark.parametrize("path", ["/run", "/run?version=3", "/ai-gateway/run", "/ai-api/models/search"])
def test_bindings_own_path_needs_a_token(server: Server, path: str):
    method = "GET" if "search" in path else "POST"

    answer = server.client.request(method, path, headers={"Host": "workers-binding.ai"})

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, 9106)


@pytest.mark.parametrize("path", ["/", "/pool.json", "/run/", "/generations", "/client/v4/accounts/a/ai/run/proxy"])
def test_nothing_else_answers_by_cloudflares_names(server: Server, path: str):
    for host in ("workers-binding.ai", "ai.cloudflare.com"):
        assert server.client.get(path, headers={"Host": host}).status_code == 400
    assert server.client.get("/healthz", headers={"Host": "api.cloudflare.com"}).status_code == 400


def test_other_methods_have_the_shape_of_the_api(server: Server):
    answer = server.client.put("/run", headers={"Authorization": f"Bearer {TOKEN}"})

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (405, 7000)
    assert {"GET", "POST"} <= {method.strip() for method in answer.headers["Allow"].split(",")}
