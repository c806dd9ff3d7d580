"""The database in a web process: work in threads, the first of it alone, and what becomes of SQLite's errors."""

import itertools
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from webapp.web import database as database_module
from webapp.web import sqlite
from webapp.web.database import Database
from webapp.web.errors import StorageBusy, StorageFull


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'jeton.sqlite3'}")


def test_first_use_is_alone_and_later_ones_are_not(database: Database) -> None:
    # Two threads in SQLAlchemy's first connect wait for each other's gevent lock for ever.
    spans: list[tuple[float, float]] = []

    def work(session: Session) -> None:
        began_at = time.monotonic()
        time.sleep(0.05)
        spans.append((began_at, time.monotonic()))

    gevent.joinall([gevent.spawn(database.run, work) for _ in range(5)], timeout=60, raise_error=True)

    (_, first_ended_at), *others = sorted(spans)
    assert len(others) == 4
    assert all(began_at >= first_ended_at for began_at, _ in others)
    assert any(later < ended_at for (_, ended_at), (later, _) in itertools.pairwise(others))


def test_first_use_that_fails_lets_the_next_be_the_first(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        database.run(lambda session: 1 / 0)

    assert database.run(lambda session: "done") == "done"


def test_work_is_done_in_a_thread_of_its_own(database: Database) -> None:
    here = threading.get_native_id()

    assert database.run(lambda session: threading.get_native_id()) != here


# --- what SQLite says ---


def fill(database: Database) -> None:
    """Writes until SQLite itself says that there is no more room."""

    def work(session: Session) -> None:
        session.execute(text("PRAGMA max_page_count = 10"))
        session.execute(text("create table filler (bytes)"))
        session.execute(text("insert into filler values (zeroblob(1000000))"))

    database.run(work)


@contextmanager
def shut(database: Database) -> Iterator[None]:
    """Held by somebody else, so that nobody can read it either."""
    other = sqlite3.connect(database.engine.url.database or "", isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    yield
    other.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_MILLISECONDS", 100)
    monkeypatch.setattr(database_module, "PATIENCE_SECONDS", 0.2)


def test_full_database_is_said_to_be_full_and_is_used_again(database: Database) -> None:
    with pytest.raises(StorageFull) as refused:
        fill(database)

    assert refused.value.retry_after
    assert database.run(lambda session: session.scalar(text("select 1"))) == 1


@pytest.mark.usefixtures("impatient")
def test_database_that_is_held_is_said_to_be_busy_and_is_used_again(database: Database) -> None:
    with shut(database), pytest.raises(StorageBusy) as refused:
        database.run(lambda session: session.scalar(text("select 1")))

    assert refused.value.retry_after
    assert database.run(lambda session: session.scalar(text("select 1"))) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("is_used", [True, False])
def test_nobody_waits_long_however_many_there_are(database: Database, *, is_used: bool) -> None:
    if is_used:
        database.run(lambda session: None)

    def ask() -> None:
        with pytest.raises(StorageBusy):
            database.run(lambda session: session.scalar(text("select 1")))

    began_at = time.monotonic()
    with shut(database):
        gevent.joinall([gevent.spawn(ask) for _ in range(100)], raise_error=True)

    # One after the other they would wait ten seconds.
    assert time.monotonic() - began_at < 5


def test_other_threads_of_gevent_stay_free_while_queries_hang(database: Database) -> None:
    database.run(lambda session: None)
    hanging = threading.Event()
    waiting = [gevent.spawn(database.run, lambda session: hanging.wait(10)) for _ in range(20)]
    gevent.sleep(0.1)

    # Another's work gets a thread at once; were there none, this would wait for the queries.
    with gevent.Timeout(5):
        assert gevent.get_hub().threadpool.apply(lambda: "done") == "done"
    hanging.set()
    gevent.joinall(waiting, timeout=10)


def test_fault_that_is_none_of_the_storages_stays_what_it_is(database: Database) -> None:
    with pytest.raises(OperationalError, match="no such table"):
        database.run(lambda session: session.execute(text("select * from missing")))


def test_what_was_asked_for_is_not_in_the_words_of_an_error(database: Database) -> None:
    with pytest.raises(OperationalError) as raised:
        database.run(lambda session: session.execute(text("select :secret from missing"), {"secret": "a-secret"}))

    assert "a-secret" not in str(raised.value)


def test_failing_query_prints_nothing_of_itself(database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OperationalError):
        database.run(lambda session: session.execute(text("select 'a-secret' from missing")))

    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
