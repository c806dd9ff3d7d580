"""What operators read where the database cannot be used."""

import sqlite3
from pathlib import Path

import pytest

from webapp.settings import Settings
from webapp.web import database
from webapp.web.create_app import create_app


@pytest.mark.parametrize("command", [["create-token"], ["revoke-token", "a"], ["upgrade-database"]], ids=str)
def test_command_says_that_the_database_is_held(
    settings: Settings, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MILLISECONDS", 50)
    app = create_app(settings)
    other = sqlite3.connect(Path(settings.database_url.removeprefix("sqlite:///")), isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")

    result = app.test_cli_runner().invoke(args=command)
    other.close()

    assert result.exit_code == 1
    assert result.output == "Error: The database is busy, please try again.\n"
