"""How often one caller may start generations, over a real server."""

import re
from collections.abc import Callable

import httpx
import pytest

from tests.harness import Reader, Server
from tests.security.callers import RUN, ask, make_token, new_address
from webapp.web.auth import ApiTokens
from webapp.web.database import Database

# The server's limit; each of its two processes allows half. A window's end in the middle lets a few more through.
LIMIT = 20
MOST = 2 * LIMIT


def reader_at(server: Server, address: str) -> Reader:
    reader = server.reader()
    reader.client.headers["X-Forwarded-For"] = address
    return reader


def until_refused(start: Callable[[], httpx.Response]) -> tuple[int, httpx.Response]:
    """How many were started before the first that was refused, and that one."""
    for count in range(MOST):
        answer = start()
        if answer.status_code == 429:
            return count, answer
        assert answer.status_code in (200, 201), answer.text
    raise AssertionError(f"{MOST} were started")


def expect_retry_after(answer: httpx.Response) -> None:
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_api_token_starts_so_many_generations_a_minute(guarded: Server) -> None:
    token, other = make_token(guarded), make_token(guarded)
    address = new_address()

    count, refused = until_refused(lambda: ask(guarded, token=token, address=address))

    assert count >= LIMIT // 2
    problem = refused.json()
    assert (problem["success"], problem["result"], problem["messages"]) == (False, {}, [])
    assert problem["errors"][0]["code"] == 3040
    assert "Rate limit exceeded: At most 20 generations a minute for this API token" in problem["errors"][0]["message"]
    expect_retry_after(refused)
    assert refused.headers["RateLimit"] == f'"generations";r=0;t={refused.headers["Retry-After"]}'
    assert ask(guarded, token=other, address=address).status_code == 200


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize(
    ("path", "body", "count"),
    [
        (RUN, {"prompt": "hi"}, 1),
        ("/v1/chat/completions", {"model": "@jeton/scripted", "messages": [{"role": "user", "content": "hi"}]}, 1),
        ("/client/v4/accounts/acc/ai/v1/completions", {"model": "@jeton/scripted", "prompt": "hi", "n": 3}, 3),
        ("/v1/responses", {"model": "@jeton/scripted", "input": "hi"}, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_answer_of_every_dialect_says_what_is_left_in_its_process(
    guarded: Server, path: str, body: dict[str, object], count: int, *, is_streamed: bool
) -> None:
    headers = {"Authorization": f"Bearer {make_token(guarded)}", "X-Forwarded-For": new_address()}

    answer = guarded.client.post(path, headers=headers, json=body | {"stream": is_streamed})

    assert answer.status_code == 200, answer.text
    assert answer.headers["RateLimit-Policy"] == f'"generations";q={LIMIT // 2};w=60'
    assert re.fullmatch(rf'"generations";r={LIMIT // 2 - count};t=[1-9][0-9]?', answer.headers["RateLimit"])


def test_answer_says_nothing_of_limits_where_there_are_none(server: Server) -> None:
    answer = ask(server)

    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.lower().startswith("ratelimit")]


def test_limit_of_a_token_holds_on_this_machine_too(server: Server) -> None:
    database = Database(f"sqlite:///{server.data_dir / 'jeton.sqlite3'}")
    token = ApiTokens(database, known_token=None, operator_token=None).create("slow", rate_limit=2)

    count, refused = until_refused(lambda: ask(server, token=token))

    # One in each of two processes; a window's end in the middle lets some more through.
    assert 1 <= count <= 4
    assert "At most 2 generations a minute for this API token" in refused.text
    assert refused.headers["RateLimit-Policy"] == '"generations";q=1;w=60'


@pytest.mark.parametrize("fragment", [True, False], ids=["fragment", "page"])
def test_address_starts_so_many_generations_of_the_playground_a_minute(guarded: Server, *, fragment: bool) -> None:
    address = new_address()
    first, second = reader_at(guarded, address), reader_at(guarded, address)
    readers = [first, second]

    def start() -> httpx.Response:
        # A new session is no new caller.
        readers.reverse()
        return readers[0].post(prompt='{"tokens": 1}', fragment=fragment)

    count, refused = until_refused(start)

    assert count >= LIMIT // 2
    assert 'data-code="RateLimitReached"' in refused.text
    assert ("<!doctype html>" in refused.text) is not fragment
    expect_retry_after(refused)
    elsewhere = reader_at(guarded, new_address())
    assert elsewhere.post(prompt='{"tokens": 1}').status_code == 201


def test_refused_forms_and_pages_are_not_counted(guarded: Server) -> None:
    reader = reader_at(guarded, new_address())

    assert {reader.post(prompt="").status_code for _ in range(MOST)} == {400}
    assert {reader.client.get("/").status_code for _ in range(MOST)} == {200}
    assert reader.post(prompt='{"tokens": 1}').status_code == 201
