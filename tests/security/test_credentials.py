"""Who may use the API and read a generation: tokens, sessions, CSRF, cookies."""

import re
import secrets

import httpx
import pytest

from tests.harness import TOKEN, Reader, Server
from tests.security.callers import RUN, ask, make_token, new_address
from webapp.web.limits import WRONG_TOKENS_A_MINUTE


@pytest.fixture
def reader(server: Server) -> Reader:
    return server.reader()


def test_thousand_wrong_tokens_are_held_up_and_nobody_else(guarded: Server) -> None:
    address, token = new_address(), make_token(guarded)
    statuses = []
    with httpx.Client(base_url=guarded.url, headers={"X-Forwarded-For": address}) as client:
        for number in range(1000):
            # The first on connections of their own, which lead to both processes.
            connection = "close" if number < 50 else "keep-alive"
            wrong = {"Authorization": f"Bearer {secrets.token_urlsafe(32)}", "Connection": connection}
            answer = client.post(RUN, headers=wrong, json={"prompt": "hi"})
            statuses.append(answer.status_code)

    # Each of two processes allows half; a window's end lets a few more through.
    first = statuses.index(429)
    assert WRONG_TOKENS_A_MINUTE // 2 <= first <= WRONG_TOKENS_A_MINUTE + 2
    assert set(statuses) == {401, 429} and statuses.count(401) <= 3 * WRONG_TOKENS_A_MINUTE
    assert ask(guarded, token=token, address=address).status_code == 200
    assert ask(guarded, token="a-wrong-token-too", address=new_address()).status_code == 401


def test_refusal_of_too_many_wrong_tokens_has_the_shape_of_the_gate(guarded: Server) -> None:
    address = new_address()
    answers = [ask(guarded, token="wrong", address=address) for _ in range(WRONG_TOKENS_A_MINUTE + 3)]

    answer = next(answer for answer in answers if answer.status_code == 429)
    assert answer.json() == {
        "success": False,
        "errors": [{"code": 10000, "message": "Authentication error"}],
        "messages": [],
        "result": None,
    }
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_wrong_tokens_of_this_machine_are_not_counted(server: Server) -> None:
    assert {ask(server, token="wrong").status_code for _ in range(3 * WRONG_TOKENS_A_MINUTE)} == {401}


@pytest.mark.parametrize("last_event_id", [None, "0", "1", "5", "99999"])
def test_generation_of_somebody_else_is_not_there(server: Server, reader: Reader, last_event_id: str | None) -> None:
    path = reader.submit(prompt='{"tokens": 5}')
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    other = server.reader()

    for client in (other.client, server.client):
        foreign = client.get(path, headers=headers)
        assert (foreign.status_code, foreign.text) == (404, "No such generation.")
        unknown = client.get("/generations/none/events", headers=headers)
        assert (foreign.status_code, foreign.text) == (unknown.status_code, unknown.text)
    assert other.abort(path).status_code == 404
    with reader.attached(path) as stream:
        assert [event.data for event in stream][-1] == "[DONE]"


def test_token_of_the_api_opens_no_generation_of_the_playground(server: Server, reader: Reader) -> None:
    path = reader.submit(prompt='{"tokens": 5}')

    assert server.client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 404


@pytest.mark.parametrize("token", ["", "wrong", "somebody else's"])
@pytest.mark.parametrize("route", ["/generations", "/generations/none/abort"])
def test_without_its_own_csrf_token_nothing_changes(server: Server, reader: Reader, route: str, token: str) -> None:
    sent = server.reader().csrf_token if token == "somebody else's" else token

    answer = reader.client.post(route, data={"prompt": "hi", "model": "@jeton/scripted", "csrf_token": sent})

    assert answer.status_code == 400
    assert "CSRF" in answer.text


def test_csrf_token_without_its_cookie_is_refused(server: Server, reader: Reader) -> None:
    headers = {"X-CSRFToken": reader.csrf_token}

    assert server.client.post("/generations", data={"prompt": "hi"}, headers=headers).status_code == 400


def test_cookie_of_a_changed_session_is_no_session(server: Server, reader: Reader) -> None:
    path = reader.submit(prompt='{"tokens": 5}')
    cookie = reader.client.cookies["jeton_session"]
    payload, _, signature = cookie.rpartition(".")
    forged = f"{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"

    assert httpx.get(server.url + path, cookies={"jeton_session": cookie}).status_code == 200
    assert httpx.get(server.url + path, cookies={"jeton_session": forged}).status_code == 404


@pytest.mark.parametrize(("scheme", "is_secure"), [("https", True), ("http", False)])
def test_cookie_is_secure_where_the_declared_proxy_says_https(guarded: Server, scheme: str, *, is_secure: bool) -> None:
    headers = {"X-Forwarded-For": new_address(), "X-Forwarded-Proto": scheme}

    cookie = httpx.get(guarded.url, headers=headers).headers["Set-Cookie"]

    flags = re.split(r"; ", cookie)[1:]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(flags)
    assert ("Secure" in flags) is is_secure
    assert not [flag for flag in flags if flag.startswith("Domain")]


@pytest.mark.parametrize(
    ("referrer", "status"), [("https://localhost/", 201), ("https://evil.example/", 400), (None, 400)]
)
def test_form_over_https_comes_from_a_page_of_this_site(guarded: Server, referrer: str | None, status: int) -> None:
    reader = Reader(guarded)
    behind_proxy = {"X-Forwarded-For": new_address(), "X-Forwarded-Proto": "https", "Host": "localhost"}
    reader.client.headers.update(behind_proxy | ({"Referer": referrer} if referrer else {}))

    assert reader.post(prompt='{"tokens": 1}').status_code == status


def test_nobody_is_believed_who_says_https_where_no_proxy_is_declared(server: Server) -> None:
    answer = httpx.get(server.url, headers={"X-Forwarded-Proto": "https", "X-Forwarded-SSL": "on"})

    assert "Secure" not in answer.headers["Set-Cookie"]
    assert "Strict-Transport-Security" not in answer.headers
