"""When a token was last used: noted to the minute, and no request waits for it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import gevent
import pytest
from flask import Flask, request
from sqlalchemy.orm import Session

from webapp.web import sqlite
from webapp.web.auth import ApiTokens
from webapp.web.database import Database
from webapp.web.errors import ApiTokenInvalid, StorageBusy
from webapp.web.last_uses import LastUses
from webapp.web.models import ApiToken

T = TypeVar("T")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def tokens(database: Database) -> ApiTokens:
    return ApiTokens(database, known_token=None, operator_token=None)


def use(tokens: ApiTokens, token: str) -> None:
    with Flask(__name__).test_request_context("/", headers={"Authorization": f"Bearer {token}"}):
        tokens.authenticate(request)


def read(database: Database, token_id: int = 1) -> datetime | None:
    return database.run(lambda session: session.get_one(ApiToken, token_id).last_used_at)


def read_once_written(database: Database, token_id: int = 1) -> datetime:
    with gevent.Timeout(10):
        while (at := read(database, token_id)) is None:
            gevent.sleep(0.005)
    return at


def test_use_is_noted(tokens: ApiTokens, database: Database) -> None:
    token, _ = tokens.create("used"), tokens.create("unused")
    began_at = datetime.now(UTC)

    use(tokens, token)

    assert began_at <= read_once_written(database) <= datetime.now(UTC)
    assert read(database, 2) is None


def test_token_that_is_refused_is_not_used(tokens: ApiTokens, database: Database) -> None:
    expired, right = tokens.create("expired", expires_at=NOON), tokens.create("right")

    with pytest.raises(ApiTokenInvalid):
        use(tokens, expired)
    use(tokens, right)

    read_once_written(database, 2)
    assert read(database) is None


@pytest.mark.parametrize(
    ("later", "is_written"), [(timedelta(seconds=59), False), (timedelta(minutes=1), True), (timedelta(days=-1), True)]
)
def test_next_use_is_noted_after_a_minute(
    tokens: ApiTokens, database: Database, later: timedelta, *, is_written: bool
) -> None:
    for name in "abc":
        tokens.create(name)
    uses = LastUses(database)
    uses.note(1, NOON, last_used_at=None)
    uses.note(2, NOON, last_used_at=None)
    read_once_written(database, 2)

    uses.note(1, NOON + later, last_used_at=None)
    uses.note(3, NOON, last_used_at=None)

    # What came later is written later, or at once with it.
    read_once_written(database, 3)
    assert read(database) == (NOON + later if is_written else NOON)


def test_what_another_process_has_just_noted_is_not_noted_again(tokens: ApiTokens, database: Database) -> None:
    for name in "ab":
        tokens.create(name)
    uses = LastUses(database)

    uses.note(1, NOON, last_used_at=NOON - timedelta(seconds=30))
    uses.note(2, NOON, last_used_at=NOON - timedelta(seconds=60))

    read_once_written(database, 2)
    assert read(database) is None


def test_no_request_waits_while_something_else_writes(
    tokens: ApiTokens, database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_MILLISECONDS", 60_000)
    token = tokens.create("mine")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # Far less than what writing it would take.
        with gevent.Timeout(20):
            for _ in range(20):
                use(tokens, token)
                gevent.sleep(0)
        assert read(database) is None
        other.execute("ROLLBACK")

    assert read_once_written(database)


class Held(Database):
    """One that something else holds for good."""

    questions = 0

    def run(self, work: Callable[[Session], T]) -> T:
        self.questions += 1
        raise StorageBusy("The database is busy, please try again.")


def test_use_that_cannot_be_noted_is_no_error_and_the_next_is_tried(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held = Held(f"sqlite:///{path}")
    uses = LastUses(held)

    with gevent.Timeout(10):
        for minute in range(3):
            uses.note(1, NOON + timedelta(minutes=minute), last_used_at=None)
            while held.questions <= minute:
                gevent.sleep(0.001)

    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
