"""What operators' commands do and say: tokens made, listed and revoked, and a database that cannot be used."""

import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from tests.web.conftest import settings_in
from webapp.__main__ import main
from webapp.settings import Settings
from webapp.web import sqlite
from webapp.web.create_app import create_app


@pytest.fixture(scope="module")
def own_app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """An app whose database only these tests use; each makes tokens of its own names."""
    return create_app(settings_in(tmp_path_factory.mktemp("commands")))


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=list(arguments))


def listed(app: Flask, name: str, *options: str) -> list[dict]:
    everything = json.loads(run(app, "list-tokens", "--json", *options).stdout)
    return [token for token in everything if token["name"] == name]


@pytest.mark.parametrize(
    "command", [["create-token"], ["list-tokens"], ["revoke-token", "a"], ["upgrade-database"]], ids=str
)
def test_command_says_that_the_database_is_held(
    settings: Settings, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_MILLISECONDS", 50)
    app = create_app(settings)
    other = sqlite3.connect(Path(settings.database_url.removeprefix("sqlite:///")), isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")

    result = app.test_cli_runner().invoke(args=command)
    other.close()

    assert result.exit_code == 1
    assert result.output == "Error: The database is busy, please try again.\n"


def test_token_is_listed_as_it_was_made(own_app: Flask) -> None:
    options = ["--scope", "read", "--account", "acc", "--rate-limit", "7", "--expires", "2199-12-31T23:59"]
    token = run(own_app, "create-token", "--name", "made so", *options).stdout.strip()

    (made,) = listed(own_app, "made so")

    assert len(token) == 43
    today = datetime.now(UTC)
    assert made.pop("created_at")[:10] in {day.strftime("%Y-%m-%d") for day in (today, today - timedelta(minutes=1))}
    assert made.pop("id") >= 1
    assert made == {
        "name": "made so",
        "scopes": ["read"],
        "account": "acc",
        "rate_limit": 7,
        "expires_at": "2199-12-31T23:59Z",
        "last_used_at": None,
        "state": "active",
    }


@pytest.mark.parametrize(
    ("options", "scopes"),
    [
        ([], ["run", "read"]),
        (["--scope", "run"], ["run"]),
        (["--scope", "read", "--scope", "run"], ["run", "read"]),
    ],
    ids=str,
)
def test_token_has_both_scopes_unless_one_is_named(own_app: Flask, options: list[str], scopes: list[str]) -> None:
    name = f"scopes {options}"

    assert run(own_app, "create-token", "--name", name, *options).exit_code == 0

    (made,) = listed(own_app, name)
    assert (made["scopes"], made["account"], made["rate_limit"], made["expires_at"]) == (scopes, None, None, None)


@pytest.mark.parametrize(
    ("text", "lasts"), [("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), ("90m", timedelta(minutes=90))]
)
def test_expiry_may_be_said_as_a_time_from_now(own_app: Flask, text: str, lasts: timedelta) -> None:
    began_at = datetime.now(UTC).replace(second=0, microsecond=0)

    run(own_app, "create-token", "--name", f"lasts {text}", "--expires", text)

    (made,) = listed(own_app, f"lasts {text}")
    assert began_at + lasts <= datetime.fromisoformat(made["expires_at"]) <= datetime.now(UTC) + lasts


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2199-12-31", "2199-12-31T00:00Z"),
        ("2199-12-31T18:30", "2199-12-31T18:30Z"),
        ("2199-12-31 18:30+02:00", "2199-12-31T16:30Z"),
    ],
)
def test_expiry_may_be_said_as_a_date_in_utc(own_app: Flask, text: str, at: str) -> None:
    run(own_app, "create-token", "--name", f"until {text}", "--expires", text)

    assert [made["expires_at"] for made in listed(own_app, f"until {text}")] == [at]


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--expires", "2020-01-01", "must be in the future"),
        ("--expires", "0d", "must be in the future"),
        ("--expires", "soon", "must be such as 30d"),
        ("--expires", "", "must be such as 30d"),
        ("--expires", "-1d", "must be such as 30d"),
        ("--expires", "9" * 5000 + "d", "must be such as 30d"),
        ("--expires", "99999999d", "must be such as 30d"),
        ("--expires", "9999-12-31T23:59-23:00", "must be such as 30d"),
        ("--scope", "write", "is not one of 'run', 'read'"),
        ("--name", "12", "must not be a number"),
        ("--name", "", "must have 1 to 100 characters"),
        ("--name", " ", "must have 1 to 100 characters"),
        ("--name", "a\x1b[31m", "must have 1 to 100 characters"),
        ("--name", "x" * 101, "must have 1 to 100 characters"),
        ("--name", "start-up", "is the name of the tokens that each start makes"),
        ("--account", "a/b", "no slash"),
        ("--account", "", "must have 1 to 100 characters"),
        ("--rate-limit", "0", "is not in the range"),
        ("--rate-limit", "many", "is not a valid integer"),
    ],
    ids=lambda value: value[:30],
)
def test_what_cannot_be_is_said_and_makes_no_token(own_app: Flask, option: str, value: str, reason: str) -> None:
    before = run(own_app, "list-tokens", "--all").stdout

    result = run(own_app, "create-token", option, value)

    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
    assert run(own_app, "list-tokens", "--all").stdout == before


def test_tokens_are_revoked_by_id_by_name_and_by_themselves(own_app: Flask) -> None:
    made = [run(own_app, "create-token", "--name", "to revoke").stdout.strip() for _ in range(4)]
    (first, *_) = listed(own_app, "to revoke")

    results = [
        run(own_app, "revoke-token", which) for which in (str(first["id"]), made[1], "to revoke", "to revoke", "-none")
    ]

    assert [(result.exit_code, result.stdout) for result in results] == [
        (0, "1 revoked\n"),
        (0, "1 revoked\n"),
        (0, "2 revoked\n"),
        (1, "0 revoked\n"),
        (1, "0 revoked\n"),
    ]
    assert listed(own_app, "to revoke") == []
    assert [token["state"] for token in listed(own_app, "to revoke", "--all")] == ["revoked"] * 4


@pytest.mark.parametrize(
    ("arguments", "status", "output"),
    [
        (["create-token", "--name", "by webapp", "--expires", "1h"], 0, r"[\w-]{43}\n"),
        (["list-tokens"], 0, r"id .*\n(.*\n)*"),
        (["revoke-token", "-none"], 1, "0 revoked\n"),
        (["create-token", "--help"], 0, r"Usage: python -m webapp create-token (.*\n)*"),
    ],
    ids=str,
)
def test_python_m_webapp_has_the_commands_too(
    settings: Settings,
    arguments: list[str],
    status: int,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JETON_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("JETON_CACHE_DIR", str(settings.cache_dir))

    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == status
    assert re.fullmatch(output, capsys.readouterr().out)


def test_list_is_a_table_that_holds_no_secret(settings: Settings) -> None:
    app = create_app(settings)
    token = run(app, "create-token", "--name", "laptop", "--scope", "run", "--expires", "2199-12-31").stdout.strip()
    run(app, "create-token", "--name", "a longer name", "--rate-limit", "7")
    with closing(sqlite3.connect(settings.database_url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("update api_token set created_at = '2026-01-02 03:04:05', last_used_at = '2026-01-03 00:00'")
        connection.execute("update api_token set expires_at = created_at where id = 2")
        hashes = [token_hash for (token_hash,) in connection.execute("select token_hash from api_token")]

    table = run(app, "list-tokens").stdout

    lines = table.splitlines()
    assert [re.split(" {2,}", line) for line in lines] == [
        ["id", "name", "scopes", "account", "limit", "created", "expires", "last used", "state"],
        ["1", "laptop", "run", "-", "-", "2026-01-02 03:04", "2199-12-31 00:00", "2026-01-03 00:00", "active"],
        [
            "2",
            "a longer name",
            "run read",
            "-",
            "7",
            "2026-01-02 03:04",
            "2026-01-02 03:04",
            "2026-01-03 00:00",
            "expired",
        ],
    ]
    assert len({line.index("  2026-01-02 03:04  ") for line in lines[1:]}) == 1
    for secret in (token, *hashes):
        assert secret not in table + run(app, "list-tokens", "--json", "--all").stdout
