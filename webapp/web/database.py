"""The database: sessions, and the schema's migrations. Knows no table.

Queries run in gevent's thread pool: SQLite blocks, and nothing on the hub may wait for it. Whoever waits for the
database waits some seconds at most, however many there are.
"""

import fcntl
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import gevent
from gevent.lock import BoundedSemaphore
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from webapp.web.errors import StorageBusy, StorageFull

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
# How long a query waits for another's lock; longer than any of ours takes.
BUSY_MILLISECONDS = 2000
# Fewer than the threads gevent has, so that a database that hangs leaves some to others.
MOST_THREADS = 8
# How long a query waits for one of these threads.
PATIENCE_SECONDS = 3.0
RETRY_AFTER_SECONDS = 5


class Database:
    """One database, by its URL."""

    def __init__(self, url: str) -> None:
        # No pool of connections: its locks are gevent's, and these threads are the kernel's. An error's words end
        # in the log, and must not say what was asked for.
        self.engine: Engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        # SQLAlchemy's locks are gevent's and its first use takes some: two threads there can wait for ever.
        self._first_use = BoundedSemaphore()
        self._is_used = False
        self._threads = BoundedSemaphore(MOST_THREADS)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _configure_sqlite)

    def run(self, work: Callable[[Session], T]) -> T:
        """What `work` returns, done in one transaction, in a thread; other greenlets go on meanwhile.

        Raises StorageBusy and StorageFull.
        """
        if not self._is_used:
            with _turn(self._first_use):
                # Those that waited here for the first one go on side by side.
                if not self._is_used:
                    result = self._run_in_thread(work)
                    self._is_used = True
                    return result
        with _turn(self._threads):
            return self._run_in_thread(work)

    def upgrade(self, lock: Path) -> None:
        """Bring the schema up to date. `lock` is a file that lets only one process do it at a time.

        Raises StorageBusy and StorageFull.
        """
        # Not at the top: it takes a third of a second, and web processes start to replace one that was lost.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            try:
                with self.engine.begin() as connection:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
            except OperationalError as error:
                raise _storage_error(error.orig) or error from error

    def _run_in_thread(self, work: Callable[[Session], T]) -> T:
        results: list[T] = []
        # Returned and not raised: of what is raised in a thread, gevent prints all it knows.
        error = gevent.get_hub().threadpool.apply(self._error_of, (work, results))
        if error:
            raise error
        return results[0]

    def _error_of(self, work: Callable[[Session], T], results: list[T]) -> Exception | None:
        try:
            with self._sessions.begin() as session:
                results.append(work(session))
        except OperationalError as error:
            return _storage_error(error.orig) or error
        except Exception as error:
            return error
        return None


@contextmanager
def _turn(places: BoundedSemaphore) -> Iterator[None]:
    if not places.acquire(timeout=PATIENCE_SECONDS):
        raise _busy()
    try:
        yield
    finally:
        places.release()


def _busy() -> StorageBusy:
    return StorageBusy("The database is busy, please try again.", retry_after=RETRY_AFTER_SECONDS)


def _storage_error(error: BaseException | None) -> StorageBusy | StorageFull | None:
    # The low byte is the kind of an error, the rest its variety (sqlite.org/rescode.html).
    match error.sqlite_errorcode & 0xFF if isinstance(error, sqlite3.Error) else None:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return _busy()
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            # Without room for its index of the log, a read fails as an error of the disk.
            return StorageFull("The disk of the database is full or fails.", retry_after=RETRY_AFTER_SECONDS)
        case _:
            return None


def _configure_sqlite(connection: sqlite3.Connection, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    # Readers never wait for a writer.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
