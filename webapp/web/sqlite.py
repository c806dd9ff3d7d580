"""SQLite as the database: how it is opened, what its errors mean. Knows no table."""

import sqlite3

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from webapp.web.storage_trouble import StorageTrouble

# How long a query waits for another's lock; longer than any of ours takes.
BUSY_MILLISECONDS = 2000


def open_engine(url: str) -> Engine:
    """Connections to this file, one for each transaction."""
    # No pool of connections: its locks are gevent's, and these threads are the kernel's. An error's words end
    # in the log, and must not say what was asked for.
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "connect", _configure)
    return engine


def trouble_of(error: BaseException | None) -> StorageTrouble | None:
    """What such an error says of the database; None where it is no trouble of its storage."""
    if not isinstance(error, sqlite3.Error):
        return None
    # The low byte is the kind of an error, the rest its variety (sqlite.org/rescode.html).
    match error.sqlite_errorcode & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "busy"
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            # Without room for its index of the log, a read fails as an error of the disk.
            return "full"
        case _:
            return None


def be_alone(session: Session, name: str) -> None:
    """From here to the end of the transaction, nobody else who says this name is in theirs."""
    # Only one may write at all.
    session.execute(text("BEGIN IMMEDIATE"))


def be_alone_with_schema(connection: Connection) -> None:
    """Nothing: whoever opens the file is on this machine, where another lock is held."""


def scrub(session: Session) -> None:
    """Overwrite what was deleted: until then, the log beside the file has what was there before."""
    session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).all()


def _configure(connection: sqlite3.Connection, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    # Readers never wait for a writer.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # What is deleted is overwritten.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()
