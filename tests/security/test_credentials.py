"""Who may use the API and read a generation: tokens, sessions, CSRF, cookies."""

import re
import secrets
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.harness import PROJECT_FOLDER, TOKEN, Reader, Server, wait_until
from tests.security.callers import RUN, ask, make_token, new_address
from webapp.web.auth import ApiTokens
from webapp.web.database import Database
from webapp.web.limits import WRONG_TOKENS_A_MINUTE

MODELS = "/client/v4/accounts/acc/ai/models/search"
FORBIDDEN = {
    "success": False,
    "errors": [{"code": 10000, "message": "Authentication error"}],
    "messages": [],
    "result": None,
}


def tokens_of(server: Server) -> ApiTokens:
    """The tokens in the server's database."""
    return ApiTokens(Database(f"sqlite:///{server.data_dir / 'jeton.sqlite3'}"), known_token=None, operator_token=None)


def start(server: Server, token: str, *, account: str = "acc") -> httpx.Response:
    """A short generation under this account."""
    path = RUN.replace("/acc/", f"/{account}/")
    return server.client.post(path, headers={"Authorization": f"Bearer {token}"}, json={"prompt": "hi"})


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


def test_token_of_an_account_opens_no_other(server: Server) -> None:
    first = tokens_of(server).create("first", account="first")
    second = tokens_of(server).create("second", account="second")

    statuses = [
        start(server, token, account=account).status_code
        for token in (first, second)
        for account in ("first", "second")
    ]

    assert statuses == [200, 403, 403, 200]
    assert start(server, first, account="second").json() == FORBIDDEN
    paths = ("/v1/models", "/client/v4/accounts/first/ai/v1/models", "/client/v4/accounts/second/ai/v1/models")
    answers = [server.client.get(path, headers={"Authorization": f"Bearer {first}"}) for path in paths]
    assert [answer.status_code for answer in answers] == [200, 200, 403]


def test_token_may_do_what_its_scopes_say(server: Server) -> None:
    reading = tokens_of(server).create("reading", scopes=["read"])
    running = tokens_of(server).create("running", scopes=["run"])

    refused = start(server, reading)
    assert (refused.status_code, refused.json()) == (403, FORBIDDEN)
    assert server.client.get(MODELS, headers={"Authorization": f"Bearer {reading}"}).status_code == 200
    assert start(server, running).status_code == 200
    refused = server.client.get(MODELS, headers={"Authorization": f"Bearer {running}"})
    assert (refused.status_code, refused.json()) == (403, FORBIDDEN)


def test_token_comes_in_the_header_of_cloudflares_keys_too(server: Server) -> None:
    headers = {"X-Auth-Key": tokens_of(server).create("key"), "X-Auth-Email": "somebody@example.com"}

    assert server.client.post(RUN, headers=headers, json={"prompt": "hi"}).status_code == 200
    wrong = server.client.post(RUN, headers={"X-Auth-Key": "wrong"}, json={"prompt": "hi"})
    assert wrong.status_code == 401


def test_token_that_a_command_makes_counts_at_once_and_its_use_is_noted(server: Server) -> None:
    command = [sys.executable, "-m", "webapp", "create-token", "--name", "by command", "--account", "acc"]
    made = subprocess.run(command, cwd=PROJECT_FOLDER, env=server.environ, capture_output=True, text=True, timeout=60)
    assert (made.returncode, made.stderr) == (0, "")
    token, tokens = made.stdout.strip(), tokens_of(server)
    assert tokens.find_all()[-1].last_used_at is None

    assert start(server, token).status_code == 200
    assert start(server, token, account="other").status_code == 403

    wait_until(lambda: tokens.find_all()[-1].last_used_at is not None, 10)
    assert tokens.revoke("by command") == 1
    assert start(server, token).status_code == 401


def test_no_credential_is_in_a_log_whatever_it_opens(guarded: Server) -> None:
    tokens, now = tokens_of(guarded), datetime.now(UTC)
    revoked = tokens.create("revoked")
    tokens.revoke(revoked)
    credentials = [
        tokens.create("right"),
        tokens.create("for reading", scopes=["read"]),
        tokens.create("for another", account="another"),
        tokens.create("expired", expires_at=now - timedelta(seconds=1)),
        revoked,
        secrets.token_urlsafe(32),
    ]
    statuses = []
    for credential in credentials:
        for headers in ({"Authorization": f"Bearer {credential}"}, {"X-Auth-Key": credential, "X-Auth-Email": "a@b.c"}):
            address = {"X-Forwarded-For": new_address()}
            statuses.append(guarded.client.post(RUN, headers=headers | address, json={"prompt": "hi"}).status_code)

    assert statuses == [200, 200, 403, 403, 403, 403, 401, 401, 401, 401, 401, 401]
    assert "gunicorn.error" in guarded.output, "the log has no debug lines"
    for credential in credentials:
        assert credential not in guarded.output


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
    ("headers", "status"),
    [
        ({"Referer": "https://localhost/"}, 201),
        # As the pages of shared links send it.
        ({}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Referer": "https://evil.example/"}, 400),
        ({"Referer": "http://localhost/"}, 400),
        ({"Referer": "https://["}, 400),
        ({"Sec-Fetch-Site": "cross-site"}, 400),
        ({"Sec-Fetch-Site": "same-site"}, 400),
    ],
)
def test_form_over_https_comes_from_a_page_of_this_site(guarded: Server, headers: dict[str, str], status: int) -> None:
    reader = Reader(guarded)
    behind_proxy = {"X-Forwarded-For": new_address(), "X-Forwarded-Proto": "https", "Host": "localhost"}
    reader.client.headers.update(behind_proxy | headers)

    assert reader.post(prompt='{"tokens": 1}').status_code == status


def test_nobody_is_believed_who_says_https_where_no_proxy_is_declared(server: Server) -> None:
    answer = httpx.get(server.url, headers={"X-Forwarded-Proto": "https", "X-Forwarded-SSL": "on"})

    assert "Secure" not in answer.headers["Set-Cookie"]
    assert "Strict-Transport-Security" not in answer.headers
