"""PostgreSQL as the database: connections that are kept, time limits, what its errors mean. Knows no table.

psycopg sees that gevent has patched this process, and waits by gevent's means, in a thread of `Database` by that
thread's own hub: the web process's goes on.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.rows import TupleRow
from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from webapp.web.storage_trouble import StorageTrouble

# For the name, the connection, and the credentials together. psycopg takes no less than 2.
CONNECT_SECONDS = 3
# How long one statement takes, or waits for another's lock; longer than any of ours does.
STATEMENT_MILLISECONDS = 2000
# A server that hangs says nothing when a statement takes too long: then this is the end of its connection.
ANSWER_SECONDS = 4.0
# While the schema is brought up to date.
UPGRADE_MILLISECONDS = 60_000
# A transaction that nobody goes on with holds its locks no longer than this.
IDLE_TRANSACTION_MILLISECONDS = 10_000
# A connection is not kept for longer: behind a name there may be another server by then.
KEEP_SECONDS = 300
# psycopg would name statements after a few uses, and poolers that hand out connections for one transaction lose them.
OPTIONS = {
    "connect_timeout": CONNECT_SECONDS,
    "prepare_threshold": None,
    "application_name": "jeton",
}

# postgresql.org/docs/current/errcodes-appendix.html
DISK_FULL = ("53100", "58030")
# Of connections, and of a server that stops or starts.
SILENT = ("08", "57P")
# Resources, time limits, serialisation, locks, a server that only reads.
BUSY = ("53", "57014", "40", "55P03", "25006", "25P03")


class PatientConnection(psycopg.Connection[TupleRow]):
    """A connection that is closed where its server leaves a question without an answer."""

    answer_seconds = ANSWER_SECONDS

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """What psycopg has asked for. Raises its OperationalError."""
        try:
            return super().wait(gen, interval, self.answer_seconds if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:
                self.pgconn.finish()
            raise


class KeptConnections(NullPool):
    """A pool of connections that takes no lock: those of SQLAlchemy's other pools are gevent's, and wait for a hub.

    There are never more than the threads that use it at once.
    """

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # pyright: ignore[reportArgumentType] - SQLAlchemy's own, as they came
        # The end that was returned last is taken first; both are atomic.
        self._idle: deque[ConnectionPoolEntry] = deque()

    def _do_get(self) -> ConnectionPoolEntry:
        try:
            return self._idle.pop()
        except IndexError:
            return self._create_connection()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._idle.append(record)

    def dispose(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            self._idle.pop().close()


def open_engine(url: str) -> Engine:
    """Connections to this server, kept from one transaction to the next."""
    # An error's words end in the log, and must not say what was asked for.
    engine = create_engine(
        url,
        poolclass=KeptConnections,
        pool_pre_ping=True,
        pool_recycle=KEEP_SECONDS,
        connect_args=OPTIONS,
        hide_parameters=True,
    )
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _configure)
    return engine


def trouble_of(error: BaseException | None) -> StorageTrouble | None:
    """What such an error says of the database; None where it is no trouble of its storage."""
    if not isinstance(error, psycopg.Error):
        return None
    if error.sqlstate is None:
        # Not the server's word: the connection is lost, or was never made.
        return "silent" if isinstance(error, psycopg.OperationalError) else None
    if error.sqlstate in DISK_FULL:
        return "full"
    if error.sqlstate.startswith(SILENT):
        return "silent"
    return "busy" if error.sqlstate.startswith(BUSY) else None


def be_alone(session: Session, name: str) -> None:
    """From here to the end of the transaction, nobody else who says this name is in theirs."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"jeton:{name}"))))


def be_alone_with_schema(connection: Connection) -> None:
    """The same for whoever changes the schema, from any machine; it may take its time."""
    own = connection.connection.dbapi_connection
    assert isinstance(own, PatientConnection)
    own.answer_seconds = 2 * UPGRADE_MILLISECONDS / 1000
    # It is not kept.
    connection.detach()
    for limit in ("statement_timeout", "lock_timeout"):
        connection.execute(text(f"SET LOCAL {limit} = {UPGRADE_MILLISECONDS}"))
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("jeton:schema"))))


def scrub(session: Session) -> None:
    """Nothing: its own vacuum frees what was deleted."""


def _connect(dialect: object, record: object, words: Sequence[str], options: dict[str, Any]) -> PatientConnection:
    return PatientConnection.connect(*words, **options)


def _configure(connection: PatientConnection, record: object) -> None:
    # Not among the options of the connection: a pooler may refuse them. And outside of a transaction, whose end would
    # take them back.
    connection.autocommit = True
    connection.execute(
        "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false), "
        "set_config('idle_in_transaction_session_timeout', %s, false)",
        (str(STATEMENT_MILLISECONDS), str(STATEMENT_MILLISECONDS), str(IDLE_TRANSACTION_MILLISECONDS)),
    )
    connection.autocommit = False
