"""The database: sessions, and the schema's migrations. Knows no table.

Queries run in gevent's thread pool: SQLite blocks, and nothing on the hub may wait for it.
"""

import fcntl
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import gevent
from alembic import command
from alembic.config import Config
from gevent.lock import BoundedSemaphore
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
# How long a write waits for another's; longer than any of ours takes.
BUSY_MILLISECONDS = 5000


class Database:
    """One database, by its URL."""

    def __init__(self, url: str) -> None:
        # No pool of connections: its locks are gevent's, and these threads are the kernel's.
        self.engine: Engine = create_engine(url, poolclass=NullPool)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        # SQLAlchemy's locks are gevent's and its first use takes some: two threads there can wait for ever.
        self._first_use = BoundedSemaphore()
        self._is_used = False
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _configure_sqlite)

    def run(self, work: Callable[[Session], T]) -> T:
        """What `work` returns, done in one transaction, in a thread; other greenlets go on meanwhile."""
        if not self._is_used:
            with self._first_use:
                # Those that waited here for the first one go on side by side.
                if not self._is_used:
                    result = self._run_in_thread(work)
                    self._is_used = True
                    return result
        return self._run_in_thread(work)

    def upgrade(self, lock: Path) -> None:
        """Bring the schema up to date. `lock` is a file that lets only one process do it at a time."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with self.engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    def _run_in_thread(self, work: Callable[[Session], T]) -> T:
        return gevent.get_hub().threadpool.apply(lambda: self._in_transaction(work))

    def _in_transaction(self, work: Callable[[Session], T]) -> T:
        with self._sessions.begin() as session:
            return work(session)


def _configure_sqlite(connection: sqlite3.Connection, record: object) -> None:
    cursor = connection.cursor()
    # Readers never wait for a writer.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
