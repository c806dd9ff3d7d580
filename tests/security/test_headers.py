"""The headers of every kind of answer, over a real server behind its declared proxy."""

import httpx
import pytest

from tests.harness import Reader, Server
from tests.security.callers import OPERATOR_TOKEN, RUN, new_address
from webapp.web.headers import SECURITY_HEADERS, STATIC_HEADERS, STRICT_TRANSPORT_SECURITY

KNOWN = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
PROMPT = b'{"prompt": "hi", "max_tokens": 1}'
STREAM = b'{"prompt": "hi", "max_tokens": 1, "stream": true}'

# Method, path, headers, body; then the status and what caches may do.
NO_STORE, PAGE, FRAMES, REVALIDATED = "no-store", "private, no-cache", "no-store, no-transform", "no-cache"
ANSWERS = {
    "page": ("GET", "/", {}, None, 200, PAGE),
    "page without its body": ("HEAD", "/", {}, None, 200, PAGE),
    "fragment": ("GET", "/models/options", {}, None, 200, PAGE),
    "no page": ("GET", "/nothing", {}, None, 404, PAGE),
    "wrong method": ("DELETE", "/", {}, None, 405, PAGE),
    "trace": ("TRACE", "/", {}, None, 405, PAGE),
    "options": ("OPTIONS", "/generations", {}, None, 200, PAGE),
    "form without its token": ("POST", "/generations", {}, b"", 400, PAGE),
    "unknown generation": ("GET", "/generations/none/events", {}, None, 404, NO_STORE),
    "static file": ("GET", "/static/favicon.svg", {}, None, 200, REVALIDATED),
    "own links": ("GET", "/links", {}, None, 200, PAGE),
    "no static file": ("GET", "/static/none.js", {}, None, 404, PAGE),
    "outside the static files": ("GET", "/static/..%2f..%2fwsgi.py", {}, None, 404, PAGE),
    "health": ("GET", "/healthz", {}, None, 200, NO_STORE),
    "readiness": ("GET", "/readyz", {}, None, 200, NO_STORE),
    "pool": ("GET", "/pool.json", {}, None, 200, NO_STORE),
    "metrics of a stranger": ("GET", "/metrics", {}, None, 401, NO_STORE),
    "document": ("GET", "/openapi.json", {}, None, 200, NO_STORE),
    "answer": ("POST", RUN, KNOWN, PROMPT, 200, NO_STORE),
    "stream": ("POST", RUN, KNOWN, STREAM, 200, FRAMES),
    "no token": ("POST", RUN, {}, PROMPT, 401, NO_STORE),
    "bad input": ("POST", RUN, KNOWN, b"{}", 400, NO_STORE),
    "too large": ("POST", RUN, KNOWN, b"x" * 600_000, 413, NO_STORE),
    "no route": ("GET", "/client/v4/nothing", {}, None, 404, NO_STORE),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_of_each_kind_has_its_headers(guarded: Server, name: str) -> None:
    method, path, headers, body, status, cache_control = ANSWERS[name]
    from_elsewhere = {"X-Forwarded-For": new_address(), "X-Forwarded-Proto": "https", "Origin": "https://evil.example"}

    answer = httpx.request(method, guarded.url + path, headers=headers | from_elsewhere, content=body)

    assert answer.status_code == status
    # A page in a sandboxed frame has an origin that is nobody's, and loads these files; they are the same for all.
    is_for_all = name == "static file"
    expected = SECURITY_HEADERS | (STATIC_HEADERS if is_for_all else {})
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert answer.headers["Strict-Transport-Security"] == STRICT_TRANSPORT_SECURITY
    assert answer.headers["Cache-Control"] == cache_control
    # Pages of other sites may read nothing else here.
    assert is_for_all or not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_stream_and_new_turn_of_the_playground_have_them_too(guarded: Server) -> None:
    reader = Reader(guarded)
    reader.client.headers["X-Forwarded-For"] = new_address()
    turn = reader.post(prompt='{"tokens": 1}')
    path = turn.text.split('src="')[1].split('"')[0]
    stream = reader.client.get(path)
    ended = reader.client.get(path, headers={"Last-Event-ID": stream.text.split("id: ")[-1].split("\n")[0]})

    assert [turn.status_code, stream.status_code, ended.status_code] == [201, 200, 204]
    for answer in (turn, stream, ended):
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_browser_that_asks_whether_another_site_may_is_told_nothing(guarded: Server, origin: str) -> None:
    asking = {"Origin": origin, "Access-Control-Request-Method": "POST", "X-Forwarded-For": new_address()}

    answer = httpx.request("OPTIONS", guarded.url + RUN, headers=asking)

    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_head_of_a_stream_reads_nothing_and_frees_its_place(guarded: Server) -> None:
    reader = Reader(guarded)
    path = reader.submit(prompt='{"tokens": 5}')

    assert reader.client.head(path).content == b""
    with reader.attached(path) as stream:
        assert [event.data for event in stream][-1] == "[DONE]"
