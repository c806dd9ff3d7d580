"""Who is let in to what: scopes by the method, accounts by the path."""

import time

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from webapp.web.auth import ApiTokens
from webapp.web.database import Database
from webapp.web.errors import RequestError
from webapp.web.gate import Gate
from webapp.web.limits import RateLimits

KNOWN = "a-token-that-is-known"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> ApiTokens:
    folder = tmp_path_factory.mktemp("gate")
    database = Database(f"sqlite:///{folder / 'jeton.sqlite3'}")
    database.upgrade(folder / "lock")
    return ApiTokens(database, known_token=KNOWN, operator_token=None)


@pytest.fixture(scope="module")
def client(tokens: ApiTokens) -> FlaskClient:
    """An app of two routes, of which one is no account's; each answers who asks."""
    gate = Gate(tokens, RateLimits(generations_a_minute=4, web_processes=1))
    app = Flask(__name__)
    app.before_request(lambda: gate.admit(request))
    app.register_error_handler(RequestError, lambda error: Response(error.message, status=error.status))

    @app.route("/accounts/<account>", methods=["GET", "POST", "PUT", "DELETE"])
    @app.route("/v1", methods=["GET", "POST"])
    def answer(account: str | None = None) -> str:
        for _ in range(int(request.args.get("generations", "0"))):
            gate.count_generation(request)
        return gate.holder

    return app.test_client()


def ask(
    client: FlaskClient, token: str, path: str, *, method: str = "POST", address: str = "192.0.2.1"
) -> TestResponse:
    headers = {"Authorization": f"Bearer {token}"}
    return client.open(path, method=method, headers=headers, environ_overrides={"REMOTE_ADDR": address})


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("run", {"POST", "PUT", "DELETE"}), ("read", {"GET", "HEAD", "OPTIONS"})],
)
def test_scope_allows_its_methods(client: FlaskClient, tokens: ApiTokens, scope: str, allowed: set[str]) -> None:
    token = tokens.create("scoped", scopes=[scope])
    methods = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE")

    statuses = {method: ask(client, token, "/accounts/acc", method=method).status_code for method in methods}

    assert statuses == {method: 200 if method in allowed else 403 for method in methods}


def test_token_without_an_account_opens_all(client: FlaskClient) -> None:
    for path in ("/accounts/acc", "/accounts/other", "/v1"):
        assert ask(client, KNOWN, path).status_code == 200


def test_token_of_an_account_opens_that_one_and_what_has_none(client: FlaskClient, tokens: ApiTokens) -> None:
    token = tokens.create("bound", account="acc")

    statuses = [
        ask(client, token, path).status_code for path in ("/accounts/acc", "/v1", "/accounts/ac", "/accounts/ACC")
    ]

    assert statuses == [200, 200, 403, 403]


def test_answer_says_what_is_left_and_what_holds(
    client: FlaskClient, tokens: ApiTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tokens.create("counted")
    # Windows are whole minutes of the clock; this one is half over.
    half_past = time.time() // 60 * 60 + 30
    monkeypatch.setattr(time, "time", lambda: half_past)

    answers = [ask(client, token, f"/v1?generations={count}") for count in (1, 2, 3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"generations";q=4;w=60'}
    assert [answer.headers.getlist("RateLimit") for answer in answers] == [
        ['"generations";r=3;t=30'],
        ['"generations";r=1;t=30'],
        ['"generations";r=0;t=30'],
    ]


def test_answer_without_a_generation_or_without_a_limit_says_nothing_of_limits(client: FlaskClient) -> None:
    for answer in (ask(client, KNOWN, "/v1"), ask(client, KNOWN, "/v1?generations=1", address="127.0.0.1")):
        assert answer.status_code == 200
        assert not [name for name, _ in answer.headers if name.startswith("RateLimit")]
