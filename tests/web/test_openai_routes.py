"""OpenAI's routes without a pool: what is refused before any generation, in the shape of each address."""

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.conftest import KNOWN_TOKEN
from webapp.web.create_app import LARGEST_BODY_BYTES

V1, ON_ACCOUNT = "/v1", "/client/v4/accounts/acc/ai/v1"
KNOWN = {"Authorization": f"Bearer {KNOWN_TOKEN}"}
CHAT = b'{"model": "@jeton/scripted", "messages": [{"role": "user", "content": "Hi"}]%b}'


def problem(body: bytes) -> dict:
    described = msgspec.json.decode(body)
    assert set(described) == {"error"}
    assert set(described["error"]) == {"message", "type", "param", "code"}
    return described["error"]


BODIES = {
    "nothing": b"",
    "not JSON": b"prompt=Hi",
    "a list": b'["Hi"]',
    "null": b"null",
    "cut off": CHAT[:30],
    "NaN": CHAT % b', "temperature": NaN',
    "half a surrogate pair": CHAT % b', "user": "\\ud800"',
    "not UTF-8": CHAT % b', "user": "\xff"',
    "deep in a field that is ignored": CHAT % (b', "x": ' + b'{"a":' * 100_000),
    "deep messages": b'{"model": "m", "messages": ' + b"[" * 100_000,
    "too long a number": CHAT % (b', "seed": 1' + b"0" * 5000),
    "no number at all": CHAT % b', "seed": "one"',
    "a list of nothing": b'{"model": "@jeton/scripted", "messages": [null]}',
}


@pytest.mark.parametrize("route", ["chat/completions", "completions", "embeddings"])
@pytest.mark.parametrize("name", BODIES)
def test_body_that_cannot_be_used_is_the_clients_error(client: FlaskClient, name: str, route: str) -> None:
    own = client.post(f"{V1}/{route}", headers=KNOWN, data=BODIES[name])
    on_account = client.post(f"{ON_ACCOUNT}/{route}", headers=KNOWN, data=BODIES[name])

    assert (own.status_code, on_account.status_code) == (400, 400)
    assert problem(own.data)["type"] == "invalid_request_error"
    assert msgspec.json.decode(on_account.data)["errors"][0]["code"] in (3003, 5006)


def test_body_over_the_limit_is_refused(client: FlaskClient) -> None:
    response = client.post(f"{V1}/chat/completions", headers=KNOWN, data=b"x" * (LARGEST_BODY_BYTES + 1))

    assert (response.status_code, problem(response.data)["code"]) == (413, "request_too_large")


def test_pool_that_is_away_is_a_fault_that_passes(client: FlaskClient) -> None:
    response = client.post(f"{V1}/chat/completions", headers=KNOWN, data=CHAT % b"")

    assert (response.status_code, problem(response.data)["code"]) == (503, "engine_unavailable")
    assert response.headers["Retry-After"] == "1"
    assert "x-should-retry" not in response.headers


def test_fault_inside_tells_nothing_of_itself(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.web.api.openai.chat.read_chat_fields", lambda body: 1 / 0)
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)

    response = app.test_client().post(f"{V1}/chat/completions", headers=KNOWN, data=CHAT % b"")

    assert (response.status_code, problem(response.data)["message"]) == (500, "The server had an error.")
    assert response.headers["x-request-id"]


def test_routes_need_a_token_and_no_csrf_token(client: FlaskClient) -> None:
    client.get("/")

    for address in (V1, ON_ACCOUNT):
        assert client.post(f"{address}/chat/completions", data=CHAT % b"").status_code == 401
        assert client.get(f"{address}/models").status_code == 401


def test_wrong_method_is_told_the_right_one(client: FlaskClient) -> None:
    response = client.delete(f"{V1}/chat/completions")

    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert problem(response.data)["message"] == "Not allowed to DELETE on /v1/chat/completions"
