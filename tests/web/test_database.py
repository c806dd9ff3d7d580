"""The database in a web process: work in threads, and the first of it alone."""

import itertools
import threading
import time
from pathlib import Path

import gevent
import pytest
from sqlalchemy.orm import Session

from webapp.web.database import Database


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

    gevent.joinall([gevent.spawn(database.run, work) for _ in range(5)], timeout=5, raise_error=True)

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
