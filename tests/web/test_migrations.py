"""The schema: brought up to date from every version there was, once, and also where that was cut off."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from flask import Flask, request

from webapp.web.auth import SCOPES, ApiTokens, Holder
from webapp.web.database import MIGRATIONS, Database
from webapp.web.errors import ApiTokenInvalid
from webapp.web.models import Base

TOKEN = "a-token-of-an-older-version"
TOKEN_HASH = hashlib.sha256(TOKEN.encode()).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jeton.sqlite3"


@pytest.fixture
def database(path: Path) -> Database:
    return Database(f"sqlite:///{path}")


@pytest.fixture
def old(database: Database, path: Path) -> Iterator[sqlite3.Connection]:
    """The database as version 0001 has made it, with a token."""
    migrate(database, "0001")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "insert into api_token (name, token_hash, created_at) values ('old', ?, '2025-01-02 03:04:05.000000')",
            (TOKEN_HASH,),
        )
        yield connection


def migrate(database: Database, revision: str, *, is_down: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if is_down else command.upgrade)(config, revision)


def upgrade(database: Database, path: Path) -> None:
    database.upgrade(path.with_suffix(".lock"))


def holder_of(database: Database) -> Holder:
    tokens = ApiTokens(database, known_token=None, operator_token=None)
    with Flask(__name__).test_request_context("/", headers={"Authorization": f"Bearer {TOKEN}"}):
        return tokens.authenticate(request)


@pytest.mark.usefixtures("old")
def test_token_of_an_older_version_may_do_everything_as_before(database: Database, path: Path) -> None:
    upgrade(database, path)

    assert holder_of(database) == Holder(name="token:1", scopes=frozenset(SCOPES), account=None, rate_limit=None)


def test_migration_that_was_cut_off_goes_on_where_it_was(
    database: Database, path: Path, old: sqlite3.Connection
) -> None:
    old.execute("alter table api_token add column scopes varchar(100) not null default 'run read'")

    upgrade(database, path)

    assert holder_of(database).scopes == set(SCOPES)


def test_tables_of_links_are_made_where_only_the_first_was(
    database: Database, path: Path, old: sqlite3.Connection
) -> None:
    upgrade(database, path)
    old.execute("drop table link_report")
    old.execute("drop index ix_shared_link_manager_hash")
    old.execute("update alembic_version set version_num = '0002'")

    upgrade(database, path)

    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


@pytest.mark.usefixtures("old")
def test_way_back_from_links_keeps_the_tokens(database: Database, path: Path) -> None:
    upgrade(database, path)

    migrate(database, "0002", is_down=True)

    assert holder_of(database)
    upgrade(database, path)
    assert holder_of(database)


@pytest.mark.parametrize(
    ("limit", "is_kept"), [("id = id", True), ("scopes = 'read'", False), ("account = 'a'", False)]
)
def test_way_back_opens_no_token_further(
    database: Database, path: Path, old: sqlite3.Connection, limit: str, *, is_kept: bool
) -> None:
    upgrade(database, path)
    old.execute(f"update api_token set {limit}")

    migrate(database, "0001", is_down=True)
    upgrade(database, path)

    if is_kept:
        assert holder_of(database)
    else:
        with pytest.raises(ApiTokenInvalid):
            holder_of(database)


def test_migrations_make_the_tables_that_the_models_name(database: Database, path: Path) -> None:
    upgrade(database, path)
    upgrade(database, path)

    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
