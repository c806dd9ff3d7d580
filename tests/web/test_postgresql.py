"""PostgreSQL as the database: its schema, API tokens, and what becomes of its errors and its silence."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gevent
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask, request
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from tests.postgresql import Postgresql
from tests.web.test_migrations import migrate
from webapp.settings import read_settings
from webapp.web import postgresql as kind
from webapp.web.auth import ApiTokens, Holder
from webapp.web.database import Database
from webapp.web.errors import ApiTokenInvalid, StorageBusy, StorageFull
from webapp.web.models import ApiToken, Base


@pytest.fixture
def url(postgresql: Postgresql) -> str:
    return read_settings({"DATABASE_URL": postgresql.make_database()}).database_url


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def database(url: str, lock: Path) -> Iterator[Database]:
    made = Database(url)
    made.upgrade(lock)
    yield made
    made.engine.dispose()


@pytest.fixture
def tokens(database: Database) -> ApiTokens:
    return ApiTokens(database, known_token=None, operator_token=None)


def holder_of(tokens: ApiTokens, token: str) -> Holder:
    with Flask(__name__).test_request_context("/", headers={"Authorization": f"Bearer {token}"}):
        return tokens.authenticate(request)


# --- the schema ---


def test_migrations_make_the_tables_that_the_models_name_and_lead_back(url: str, lock: Path) -> None:
    database = Database(url)
    database.upgrade(lock)
    database.upgrade(lock)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []

    migrate(database, "base", is_down=True)

    with database.engine.connect() as connection:
        tables = connection.scalars(text("select tablename from pg_tables where schemaname = 'public'")).all()
    assert tables == ["alembic_version"]


def test_machines_that_upgrade_at_once_take_turns(url: str, tmp_path: Path) -> None:
    # Each with a lock file of its own, as on several machines.
    upgrades = [gevent.get_hub().threadpool.spawn(Database(url).upgrade, tmp_path / f"lock{n}") for n in range(3)]

    gevent.joinall(upgrades, raise_error=True)

    assert Database(url).run(lambda session: session.scalar(text("select count(*) from shared_link"))) == 0


# --- API tokens ---


def test_tokens_are_made_used_listed_and_revoked(tokens: ApiTokens, database: Database) -> None:
    expires_at = datetime(2199, 12, 31, 18, 30, tzinfo=UTC)
    token = tokens.create("laptop", scopes=["read"], account="acc", expires_at=expires_at, rate_limit=7)
    other = tokens.create("other")

    holder = holder_of(tokens, token)

    assert holder == Holder(name="token:1", scopes=frozenset({"read"}), account="acc", rate_limit=7)
    with gevent.Timeout(10):
        while (used_at := database.run(lambda session: session.get_one(ApiToken, 1).last_used_at)) is None:
            gevent.sleep(0.005)
    assert timedelta() <= datetime.now(UTC) - used_at < timedelta(minutes=1)
    # The server's own time zone is another one.
    assert [(row.name, row.expires_at, row.created_at.tzinfo) for row in tokens.find_all()] == [
        ("laptop", expires_at, UTC),
        ("other", None, UTC),
    ]
    assert [tokens.revoke(which) for which in ("laptop", "laptop", "9" * 9, "9" * 30, other)] == [1, 0, 0, 0, 1]
    with pytest.raises(ApiTokenInvalid):
        holder_of(tokens, token)


def test_old_start_up_tokens_end(tokens: ApiTokens) -> None:
    made = [tokens.create_for_start_up() for _ in range(12)]

    assert len(tokens.find_all()) == 10
    assert holder_of(tokens, made[-1])


# --- connections ---


def test_connections_are_kept_and_never_more_than_threads(database: Database) -> None:
    def pid(session: Session) -> int:
        session.execute(text("select pg_sleep(0.01)"))
        return session.scalar(text("select pg_backend_pid()"))

    one_by_one = {database.run(pid) for _ in range(5)}
    at_once = {greenlet.get() for greenlet in gevent.joinall([gevent.spawn(database.run, pid) for _ in range(40)])}

    assert len(one_by_one) == 1
    assert 1 < len(at_once) <= 8


def test_connection_that_the_server_has_ended_is_replaced(database: Database, postgresql: Postgresql) -> None:
    database.run(lambda session: session.execute(text("select 1")))

    postgresql.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'jeton'")

    assert database.run(lambda session: session.scalar(text("select 1"))) == 1


def test_failed_transaction_leaves_nothing_for_the_next(database: Database) -> None:
    def fail(session: Session) -> None:
        session.execute(text("insert into api_token (name, token_hash, created_at) values ('n', 'h', now())"))
        session.execute(text("select * from missing"))

    with pytest.raises(ProgrammingError):
        database.run(fail)

    assert database.run(lambda session: session.scalar(text("select count(*) from api_token"))) == 0


# --- trouble ---


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "STATEMENT_MILLISECONDS", 100)


@pytest.mark.usefixtures("impatient")
def test_row_that_somebody_holds_and_a_long_statement_are_given_up(url: str, database: Database) -> None:
    database.run(lambda session: session.execute(text("insert into api_token values (1, 'n', 'h', now())")))
    change = text("update api_token set name = 'm'")
    other = psycopg.connect(url.replace("+psycopg", ""))
    other.execute("update api_token set name = 'held'")

    with pytest.raises(StorageBusy) as refused:
        database.run(lambda session: session.execute(change))
    with pytest.raises(StorageBusy):
        database.run(lambda session: session.execute(text("select pg_sleep(5)")))
    other.close()

    assert refused.value.retry_after
    database.run(lambda session: session.execute(change))


def test_server_without_a_place_for_another_connection_is_busy(postgresql: Postgresql, url: str) -> None:
    others: list[psycopg.Connection] = []
    with suppress(psycopg.OperationalError):
        while len(others) < 100:
            others.append(psycopg.connect(url.replace("+psycopg", "")))

    with pytest.raises(StorageBusy):
        Database(url).run(lambda session: None or session.execute(text("select 1")))
    for other in others:
        other.close()


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (psycopg.errors.DiskFull(""), "full"),
        (psycopg.errors.IoError(""), "full"),
        (psycopg.errors.TooManyConnections(""), "busy"),
        (psycopg.errors.OutOfMemory(""), "busy"),
        (psycopg.errors.LockNotAvailable(""), "busy"),
        (psycopg.errors.QueryCanceled(""), "busy"),
        (psycopg.errors.DeadlockDetected(""), "busy"),
        (psycopg.errors.SerializationFailure(""), "busy"),
        (psycopg.errors.ReadOnlySqlTransaction(""), "busy"),
        (psycopg.errors.AdminShutdown(""), "silent"),
        (psycopg.errors.CannotConnectNow(""), "silent"),
        (psycopg.errors.ConnectionFailure(""), "silent"),
        (psycopg.OperationalError("the connection is lost"), "silent"),
        (psycopg.errors.UndefinedTable(""), None),
        (psycopg.errors.UniqueViolation(""), None),
        (psycopg.ProgrammingError(""), None),
        (ValueError(), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_error_says_what_is_wrong_with_the_storage(error: Exception, trouble: str | None) -> None:
    assert kind.trouble_of(error) == trouble


def test_full_disk_is_said_to_be_full(database: Database) -> None:
    def fill(session: Session) -> None:
        raise OperationalError("insert", {}, psycopg.errors.DiskFull("could not extend file"))

    with pytest.raises(StorageFull):
        database.run(fill)


def test_what_was_asked_for_is_not_in_the_words_of_an_error(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ProgrammingError) as raised:
        database.run(lambda session: session.execute(text("select :secret from missing"), {"secret": "a-secret"}))

    assert "a-secret" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_password_is_in_no_words_of_a_database_that_does_not_answer(lock: Path) -> None:
    unreachable = Database("postgresql+psycopg://jeton:a-secret@127.0.0.1:1/jeton")

    with pytest.raises(StorageBusy) as refused:
        unreachable.run(lambda session: session.execute(text("select 1")))
    with pytest.raises(StorageBusy) as not_upgraded:
        unreachable.upgrade(lock)

    assert refused.value.message == "The database does not answer, please try again."
    assert "Connection refused" in not_upgraded.value.message
    assert "a-secret" not in not_upgraded.value.message + repr(unreachable.engine.url)


def test_server_that_hangs_keeps_nobody_for_long(
    database: Database, postgresql: Postgresql, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind.PatientConnection, "answer_seconds", 0.5)
    monkeypatch.setitem(kind.OPTIONS, "connect_timeout", 2)
    databases = [database, Database(url)]

    def ask(asked: Database) -> float:
        began_at = time.monotonic()
        with pytest.raises(StorageBusy):
            asked.run(lambda session: session.execute(text("select 1")))
        return time.monotonic() - began_at

    # One has a connection, the other has none yet.
    database.run(lambda session: None)
    with postgresql.hung():
        asking = [gevent.spawn(ask, databases[n % 2]) for n in range(40)]
        seconds = [greenlet.get() for greenlet in gevent.joinall(asking)]

    assert max(seconds) < 10
    for each in databases:
        assert each.run(lambda session: session.scalar(text("select 1"))) == 1
