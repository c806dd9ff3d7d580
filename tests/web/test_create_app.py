"""The assembled app without a pool: headers, refusals in each shape, its key, its limits."""

import io
import os
import stat
from contextlib import suppress
from pathlib import Path

import gevent
import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from gunicorn.http.errors import InvalidChunkSize
from werkzeug.exceptions import HTTPException

from tests.web.conftest import KNOWN_TOKEN, OPERATOR_TOKEN
from tests.web.states import engine_state, pool_state
from webapp.settings import Settings
from webapp.web.create_app import LARGEST_BODY_BYTES, create_app
from webapp.web.headers import SECURITY_HEADERS
from webapp.web.links.embed import EMBED_POLICY

RUN = "/client/v4/accounts/acc/ai/run/@jeton/scripted"
CATALOG = "/client/v4/accounts/acc/ai"
KNOWN = {"Authorization": f"Bearer {KNOWN_TOKEN}"}
TENSORS = '{"input": [{"type": "str", "shape": [1], "name": "INPUT_0", "value": ["Hi"]}]}'
BOUND = KNOWN | {"cf-consn-model-id": "@jeton/scripted"}

# Method, path, headers, body, and the status without a pool: an answer of each kind.
ANSWERS = [
    ("GET", "/", {}, None, 200),
    ("HEAD", "/", {}, None, 200),
    ("OPTIONS", "/generations", {}, None, 200),
    ("GET", "/healthz", {}, None, 200),
    ("GET", "/readyz", {}, None, 503),
    ("GET", "/pool.json", {}, None, 503),
    ("GET", "/metrics", {}, None, 503),
    ("GET", "/openapi.json", {}, None, 200),
    ("GET", "/api", {}, None, 200),
    ("GET", "/worker-endpoint", {}, None, 503),
    ("GET", "/worker-endpoint", {"Last-Event-ID": f"{'0' * 32}:1"}, None, 200),
    ("GET", "/worker-endpoint", {"Last-Event-ID": "x"}, None, 400),
    ("GET", "/worker-endpoint", {"Sec-Fetch-Site": "cross-site"}, None, 403),
    ("HEAD", "/worker-endpoint", {}, None, 200),
    ("GET", "/models/options", {}, None, 200),
    ("GET", "/static/favicon.svg", {}, None, 200),
    ("GET", "/static/../wsgi.py", {}, None, 404),
    ("GET", "/generations/none/events", {}, None, 200),
    ("HEAD", "/generations/none/events", {}, None, 200),
    ("GET", "/generations/none/events", {"Last-Event-ID": "x"}, None, 400),
    ("GET", "/nothing", {}, None, 404),
    ("GET", "/nothing", {"HX-Request": "true"}, None, 404),
    ("DELETE", "/", {}, None, 405),
    ("POST", "/generations", {}, None, 400),
    *(
        ("POST", path, {}, None, 400)
        for path in (
            "/generations/none/abort",
            "/generations/none/drop",
            "/generations/none/share",
            "/code",
            "/language",
            "/tokens",
            "/links/forget",
            "/links/key",
            "/s/none/extend",
            "/s/none/report",
            "/s/none/revoke",
            "/s/none/run",
        )
    ),
    ("GET", "/links", {}, None, 200),
    *(
        ("GET", path, {}, None, 404)
        for path in ("/e/none", "/s/none", "/s/none/events", "/s/none/og.png", "/s/none/run.json", "/s/none/run/none")
    ),
    ("GET", "/client/v4/nothing", {}, None, 404),
    ("GET", RUN, {}, None, 405),
    ("POST", RUN, {}, "{}", 401),
    ("POST", RUN, {"Authorization": "Bearer wrong-token"}, "{}", 401),
    ("POST", RUN, KNOWN, None, 400),
    ("POST", RUN, KNOWN, "{}", 400),
    ("POST", RUN, KNOWN, '{"prompt": "Hi"}', 503),
    ("POST", RUN, KNOWN, '{"prompt": "Hi", "stream": true}', 503),
    ("POST", RUN, KNOWN, "x" * (LARGEST_BODY_BYTES + 1), 413),
    ("POST", RUN.replace("scripted", "none"), KNOWN, '{"prompt": "Hi"}', 400),
    ("POST", RUN.replace("scripted", "missing"), KNOWN, '{"prompt": "Hi"}', 503),
    ("POST", RUN.replace("scripted", "scripted-embeddings"), KNOWN, '{"text": "Hi"}', 503),
    ("GET", f"{CATALOG}/models/search", KNOWN, None, 200),
    ("GET", f"{CATALOG}/models/schema", KNOWN, None, 400),
    ("GET", f"{CATALOG}/tasks/search", KNOWN, None, 200),
    ("GET", f"{CATALOG}/authors/search", KNOWN, None, 200),
    ("GET", f"{CATALOG}/finetunes", KNOWN, None, 200),
    ("GET", f"{CATALOG}/finetunes/public", KNOWN, None, 200),
    ("POST", f"{CATALOG}/run/proxy", KNOWN, "{}", 400),
    ("POST", "/run", BOUND, '{"input": []}', 400),
    ("POST", "/run", BOUND, TENSORS, 503),
    ("GET", "/ai-api/models/search", KNOWN, None, 200),
    *(
        (method, f"{address}/{path}", KNOWN, body, status)
        for address in ("/v1", f"{CATALOG}/v1")
        for method, path, body, status in (
            ("POST", "chat/completions", '{"model": "@jeton/scripted", "messages": []}', 400),
            ("POST", "completions", '{"model": "@jeton/scripted", "prompt": "Hi"}', 503),
            ("POST", "embeddings", '{"model": "@jeton/scripted-embeddings", "input": "Hi"}', 503),
            ("POST", "responses", '{"model": "@jeton/scripted", "input": "Hi"}', 503),
            ("GET", "models", None, 200),
            ("GET", "models/@jeton/scripted", None, 200),
        )
    ),
]

# What some say otherwise, by how their path begins.
SHARED = {"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "unsafe-none"}
FOR_ALL_ORIGINS = {"Cross-Origin-Resource-Policy": "cross-origin"}
OTHERWISE = {
    "/static/favicon": FOR_ALL_ORIGINS,
    "/e/none": SHARED | FOR_ALL_ORIGINS | {"Content-Security-Policy": EMBED_POLICY.format(ancestors="*")},
    "/s/none": SHARED,
    "/s/none/og.png": SECURITY_HEADERS,
    "/s/none/events": FOR_ALL_ORIGINS,
    "/s/none/run.json": FOR_ALL_ORIGINS,
    **{f"/s/none/{what}": SECURITY_HEADERS for what in ("extend", "report", "revoke")},
}


def headers_of(path: str) -> dict[str, str]:
    """The security headers of an answer at this path: the longer beginning counts."""
    return SECURITY_HEADERS | {
        name: value for start in sorted(OTHERWISE) if path.startswith(start) for name, value in OTHERWISE[start].items()
    }


def api_problem(body: bytes) -> tuple[int, str]:
    problem = msgspec.json.decode(body)
    assert set(problem) == {"errors", "success", "result", "messages"}
    assert (problem["success"], problem["messages"]) == (False, [])
    (error,) = problem["errors"]
    return error["code"], error["message"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"), ANSWERS, ids=lambda value: str(value)[:60].replace("\n", "")
)
def test_every_answer_has_its_status_and_the_security_headers(
    client: FlaskClient, method: str, path: str, headers: dict[str, str], body: str | None, status: int
) -> None:
    response = client.open(path, method=method, headers=headers, data=body)

    assert response.status_code == status
    assert {name: response.headers.get(name) for name in SECURITY_HEADERS} == headers_of(path)
    response.close()


def test_every_route_of_the_app_has_an_answer_above(app: Flask) -> None:
    adapter = app.url_map.bind("localhost")
    tried = set()
    for method, path, *_ in ANSWERS:
        # Some are no route.
        with suppress(HTTPException):
            tried.add(adapter.match(path, method=method)[0])

    assert tried == {rule.endpoint for rule in app.url_map.iter_rules()}


def test_policy_lets_nothing_in_from_elsewhere_and_no_inline_script() -> None:
    policy = SECURITY_HEADERS["Content-Security-Policy"]

    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy


# --- refusals in each shape ---


@pytest.mark.parametrize("path", ["/client/v4/nothing", "/client/v4/accounts/a/ai/", "/client/v4/%00%ff"])
def test_unknown_route_of_the_api_answers_in_its_shape(client: FlaskClient, path: str) -> None:
    response = client.get(path)

    assert (response.status_code, response.content_type) == (404, "application/json")
    assert api_problem(response.data) == (7000, "No route for that URI")


def test_unknown_page_is_a_page_and_its_fragment_a_fragment(client: FlaskClient) -> None:
    page, fragment = client.get("/nothing"), client.get("/nothing", headers={"HX-Request": "true"})

    assert "<!doctype html>" in page.text and "<!doctype html>" not in fragment.text
    assert 'role="alert"' in fragment.text


@pytest.mark.parametrize(("path", "allowed"), [(RUN, "POST"), ("/generations", "POST"), ("/", "GET")])
def test_wrong_method_is_told_the_right_one(client: FlaskClient, path: str, allowed: str) -> None:
    response = client.delete(path)

    assert response.status_code == 405
    assert allowed in response.headers["Allow"]


def test_fault_inside_is_not_taken_for_a_missing_route(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.web.api.workers_ai.runs.read_fields", lambda body: 1 / 0)
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)

    response = app.test_client().post(RUN, headers=KNOWN, data='{"prompt": "Hi"}')

    assert response.status_code == 500
    code, message = api_problem(response.data)
    assert code == 5000 and "ZeroDivision" not in message


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["page", "fragment"])
@pytest.mark.parametrize("path", ["/generations", "/generations/g/abort"])
def test_form_without_its_csrf_token_is_refused(client: FlaskClient, path: str, headers: dict[str, str]) -> None:
    client.get("/")

    response = client.post(path, headers=headers, data={"prompt": "Hi", "csrf_token": "forged"})

    assert response.status_code == 400
    assert "CSRF" in response.text
    assert ("CsrfTokenInvalid" in response.text) is bool(headers)


def test_api_needs_no_csrf_token_and_takes_no_cookie_for_one(client: FlaskClient) -> None:
    client.get("/")

    assert client.post(RUN, data='{"prompt": "Hi"}').status_code == 401


# --- bodies ---

BODIES = {
    "nothing": (b"", 3003),
    "blanks": (b" \r\n\t", 3003),
    "not JSON": (b"prompt=Hi", 5006),
    "a list": (b'["Hi"]', 5006),
    "null": (b"null", 5006),
    "a number": (b"1", 5006),
    "cut off": (b'{"prompt": "Hi', 5006),
    "two values": (b'{"prompt": "Hi"} {}', 5006),
    "NaN": (b'{"prompt": "Hi", "temperature": NaN}', 5006),
    "too large a number": (b'{"prompt": "Hi", "temperature": 1e999}', 5006),
    "an endless number": (b'{"prompt": "Hi", "top_k": 1%b}' % (b"0" * 5000), 5006),
    "past 64 bits": (b'{"prompt": "Hi", "max_tokens": 99999999999999999999999}', 5006),
    "half a surrogate pair": (b'{"prompt": "\\ud800"}', 5006),
    "half a surrogate pair and text": (b'{"prompt": "\\ud800 Hi"}', 5006),
    "the other half": (b'{"prompt": "\\udc00"}', 5006),
    "not UTF-8": (b'{"prompt": "\xff\xfe"}', 5006),
    "a surrogate in UTF-8": (b'{"prompt": "\xed\xa0\x80"}', 5006),
    "UTF-16": ('{"prompt": "Hi"}'.encode("utf-16"), 5006),
    "deep in a field that is ignored": (b'{"prompt": "Hi", "x": ' + b'{"a":' * 100_000, 5006),
    "deep lists": (b'{"messages": ' + b"[" * 100_000, 5006),
    "null for all": (b'{"prompt": null, "messages": null}', 5006),
    "a long prompt in the wrong place": (b'{"messages": "%b"}' % (b"x" * 400_000), 5006),
}


@pytest.mark.parametrize("name", BODIES)
def test_body_that_cannot_be_used_is_the_clients_error(client: FlaskClient, name: str) -> None:
    body, expected = BODIES[name]

    response = client.post(RUN, headers=KNOWN, data=body)

    assert response.status_code == 400
    assert api_problem(response.data)[0] == expected


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json"])
def test_body_is_json_whatever_its_content_type_says(client: FlaskClient, content_type: str | None) -> None:
    response = client.post(RUN, headers=KNOWN, data=b'{"prompt": 5}', content_type=content_type)

    assert (response.status_code, "prompt" in response.text) == (400, True)


def test_body_over_the_limit_is_refused_in_each_shape(client: FlaskClient) -> None:
    too_large = b"x" * (LARGEST_BODY_BYTES + 1)

    api = client.post(RUN, headers=KNOWN, data=too_large)
    form = client.post("/generations", data={"prompt": too_large.decode()})

    assert (api.status_code, form.status_code) == (413, 413)
    assert api_problem(api.data)[0] == 3006


def test_body_just_under_the_limit_is_read(client: FlaskClient) -> None:
    body = b'{"prompt": "%b"}' % (b"x" * (LARGEST_BODY_BYTES - 14))
    assert len(body) == LARGEST_BODY_BYTES

    assert client.post(RUN, headers=KNOWN, data=body).status_code == 503


@pytest.mark.parametrize("rest", [b" " * 100, b""], ids=["over", "at"])
def test_chunked_body_that_reaches_the_limit_is_not_cut_off_in_silence(client: FlaskClient, rest: bytes) -> None:
    body = b'{"prompt": "Hi"}'.ljust(LARGEST_BODY_BYTES) + rest
    environ = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}

    response = client.post(RUN, headers=KNOWN, environ_overrides=environ)

    assert (response.status_code, api_problem(response.data)[0]) == (413, 3006)


class BrokenBody(io.RawIOBase):
    """A body whose client has gone, or whose chunks gunicorn cannot read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        raise self._error


class SlowBody(io.RawIOBase):
    """A body of which the first byte comes, and then nothing."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        gevent.sleep(60)
        return 0


@pytest.mark.parametrize("headers", [KNOWN, {}], ids=["read", "refused before it is read"])
def test_body_that_does_not_come_is_not_waited_for_for_ever(settings: Settings, headers: dict[str, str]) -> None:
    hurried = create_app(msgspec.structs.replace(settings, body_seconds=0.05)).test_client()
    environ = {"wsgi.input": SlowBody(), "wsgi.input_terminated": True}

    response = hurried.post(RUN, headers=headers, environ_overrides=environ)

    assert response.status_code == (400 if headers else 401)


@pytest.mark.parametrize("error", [OSError("gone"), InvalidChunkSize(b"zz")], ids=["gone", "chunk"])
@pytest.mark.parametrize("headers", [KNOWN, {}], ids=["read", "refused before it is read"])
def test_body_that_breaks_off_is_the_clients_error(
    client: FlaskClient, headers: dict[str, str], error: Exception
) -> None:
    environ = {"wsgi.input": BrokenBody(error), "wsgi.input_terminated": True}

    response = client.post(RUN, headers=headers, environ_overrides=environ)

    assert response.status_code == (400 if headers else 401)
    assert api_problem(response.data)[0] == (3003 if headers else 9106)


@pytest.mark.parametrize(
    "model", ["@cf%2Fmeta%2Fnone", "%ED%A0%80", "%00", "é", "..%2f..%2fetc", "a" * 5000, "'%22<script>"]
)
def test_unknown_model_with_any_name_is_no_such_model(client: FlaskClient, model: str) -> None:
    response = client.post(f"/client/v4/accounts/acc/ai/run/{model}", headers=KNOWN, data=b'{"prompt": "Hi"}')

    assert (response.status_code, api_problem(response.data)[0]) == (400, 5007)


def test_percent_encoded_model_is_the_same_model(client: FlaskClient) -> None:
    response = client.post(RUN.replace("@jeton/", "@jeton%2F"), headers=KNOWN, data=b'{"prompt": "Hi"}')

    assert (response.status_code, api_problem(response.data)[0]) == (503, 3040)


def test_every_answer_of_the_api_names_its_request(client: FlaskClient) -> None:
    ids = {client.post(RUN, headers=headers, data=b"{}").headers["cf-ai-req-id"] for headers in ({}, KNOWN, KNOWN)}

    assert len(ids) == 3


def test_pool_that_is_away_is_told_with_a_time_to_come_back(client: FlaskClient) -> None:
    response = client.post(RUN, headers=KNOWN, data=b'{"prompt": "Hi"}')

    assert response.headers["Retry-After"] == "1"


def test_browser_is_told_to_come_back_while_the_pool_is_away(client: FlaskClient) -> None:
    response = client.get("/generations/g/events")

    assert (response.status_code, response.content_type) == (200, "text/event-stream")
    assert response.data == b"retry: 1000\n\n"


# --- the key and the cookie ---


def test_secret_key_is_for_this_user_only_and_stays_the_same(settings: Settings) -> None:
    old_mask = os.umask(0)
    try:
        first, second = create_app(settings), create_app(settings)
    finally:
        os.umask(old_mask)

    path = settings.data_dir / "secret-key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.secret_key == second.secret_key == path.read_bytes()
    assert len(first.secret_key) == 32
    assert [each.name for each in settings.data_dir.iterdir() if "secret" in each.name] == ["secret-key"]


def test_secret_key_differs_between_installations(settings: Settings, tmp_path: Path) -> None:
    other = msgspec.structs.replace(settings, data_dir=tmp_path / "other", run_dir=tmp_path / "other" / "run")

    assert create_app(settings).secret_key != create_app(other).secret_key


def test_data_and_socket_folders_are_for_this_user_only(settings: Settings) -> None:
    create_app(settings)

    for folder in (settings.data_dir, settings.run_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_cookie_cannot_be_read_by_scripts_nor_sent_from_elsewhere(client: FlaskClient) -> None:
    cookie = client.get("/").headers["Set-Cookie"]

    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


# --- who may see process ids ---


@pytest.mark.parametrize(
    ("environ", "headers", "is_local"),
    [
        ({"REMOTE_ADDR": "127.0.0.1"}, {}, True),
        ({"REMOTE_ADDR": "::1"}, {}, True),
        ({"REMOTE_ADDR": "127.0.0.1"}, {"X-Forwarded-For": "127.0.0.1"}, False),
        ({"REMOTE_ADDR": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, False),
        ({"REMOTE_ADDR": "127.0.0.1"}, {"Via": "1.1 proxy"}, False),
        ({"REMOTE_ADDR": "192.0.2.1"}, {}, False),
        ({"REMOTE_ADDR": ""}, {}, False),
        ({"REMOTE_ADDR": "192.0.2.1"}, {"Authorization": f"Bearer {OPERATOR_TOKEN}"}, True),
        ({"REMOTE_ADDR": "192.0.2.1"}, {"Authorization": f"Bearer {KNOWN_TOKEN}"}, False),
    ],
    ids=repr,
)
def test_process_ids_are_for_this_machine_and_operators(
    app: Flask,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    headers: dict[str, str],
    *,
    is_local: bool,
) -> None:
    state = pool_state(engine_state(engine_id=f"{POOL_PID}-1"), pid=POOL_PID)
    monkeypatch.setattr("webapp.web.pool_client.PoolClient.state", lambda self: state)

    body = app.test_client().get("/pool.json", environ_overrides=environ, headers=headers).json

    assert any("pid" in process for process in body["processes"]) is is_local
    assert (str(POOL_PID) in str(body)) is is_local


POOL_PID = 918273
