"""How often one caller may start generations, over a real server."""

from collections.abc import Callable

import httpx
import pytest

from tests.harness import Reader, Server
from tests.security.callers import ask, make_token, new_address

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
    assert ask(guarded, token=other, address=address).status_code == 200


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
