"""The database: sessions, and the schema's migrations. Knows no table.

Queries run in gevent's thread pool: SQLite blocks, and nothing on the hub may wait for it. Whoever waits for the
database waits some seconds at most, however many there are.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

import gevent
from gevent.lock import BoundedSemaphore
from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from webapp.web import sqlite
from webapp.web.errors import StorageBusy, StorageFull
from webapp.web.storage_trouble import StorageTrouble, storage_error

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
# Fewer than the threads gevent has, so that a database that hangs leaves some to others.
MOST_THREADS = 8
# How long a query waits for one of these threads.
PATIENCE_SECONDS = 3.0


class DatabaseKind(Protocol):
    """What differs between databases: the modules sqlite and postgresql are such."""

    @staticmethod
    def open_engine(url: str) -> Engine: ...

    @staticmethod
    def trouble_of(error: BaseException | None) -> StorageTrouble | None: ...

    @staticmethod
    def be_alone(session: Session, name: str) -> None: ...

    @staticmethod
    def be_alone_with_schema(connection: Connection) -> None: ...

    @staticmethod
    def scrub(session: Session) -> None: ...


class Database:
    """One database, by its URL."""

    def __init__(self, url: str) -> None:
        self._kind = _kind(url)
        self.engine = self._kind.open_engine(url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        # SQLAlchemy's locks are gevent's and its first use takes some: two threads there can wait for ever.
        self._first_use = BoundedSemaphore()
        self._is_used = False
        self._threads = BoundedSemaphore(MOST_THREADS)

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
                    # The file is this machine's, and others may upgrade the same database.
                    self._kind.be_alone_with_schema(connection)
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
            except DBAPIError as error:
                # For operators, and without a password; readers of pages need not know where the database is.
                raise self._known(error, reason=" ".join(str(error.orig).split())) from error

    def be_alone(self, session: Session, name: str) -> None:
        """From here to the end of the session's transaction, nobody else who says this name is in theirs."""
        self._kind.be_alone(session, name)

    def scrub(self) -> None:
        """Overwrite what was deleted, where the database can be told to; where it is busy, the next scrub does."""
        with suppress(StorageBusy, StorageFull):
            self.run(self._kind.scrub)

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
        except DBAPIError as error:
            return self._known(error)
        except Exception as error:
            return error
        return None

    def _known(self, error: DBAPIError, reason: str = "") -> Exception:
        trouble = self._kind.trouble_of(error.orig)
        return storage_error(trouble, reason) if trouble else error


def _kind(url: str) -> DatabaseKind:
    if make_url(url).get_backend_name() == "sqlite":
        return sqlite
    # Not at the top: its driver takes a quarter of a second and 25 MB, and most have no use for it.
    from webapp.web import postgresql

    return postgresql


@contextmanager
def _turn(places: BoundedSemaphore) -> Iterator[None]:
    if not places.acquire(timeout=PATIENCE_SECONDS):
        raise storage_error("busy")
    try:
        yield
    finally:
        places.release()
