"""Commands for operators: of API tokens, of shared links, and `upgrade-database`.

`flask` runs them, and `python -m webapp` does. No command prints a hash, nor a token but at its making, nor what a
shared link shows.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from flask import Flask
from flask.cli import ScriptInfo

from webapp.web.auth import SCOPES, ApiTokens
from webapp.web.database import Database
from webapp.web.errors import StorageBusy, StorageFull
from webapp.web.links.commands import add_link_commands
from webapp.web.links.store import SharedLinks
from webapp.web.token_options import AccountName, Expiry, TokenName
from webapp.web.token_table import describe, table

CurrentDatabase = Callable[[], AbstractContextManager[None]]

# Far more than any machine does.
MOST_A_MINUTE = 1_000_000


def run_command(app: Flask, arguments: Sequence[str]) -> None:
    """Run one of the app's commands, as `flask` would, and end the process with its status."""
    app.cli.main(list(arguments), prog_name="python -m webapp", obj=ScriptInfo(create_app=lambda: app))


def add_commands(app: Flask, *, database: Database, database_lock: Path, tokens: ApiTokens, links: SharedLinks) -> None:
    """Add the commands to `flask`. Each brings the schema up to date first."""

    @contextmanager
    def current_database() -> Iterator[None]:
        try:
            database.upgrade(database_lock)
            yield
        except (StorageBusy, StorageFull) as error:
            raise click.ClickException(error.message) from error

    _add_token_commands(app, tokens, current_database)
    add_link_commands(app, links, current_database)

    @app.cli.command("upgrade-database")
    def upgrade_database() -> None:
        """Bring the database's schema up to date; gunicorn does it at its start."""
        with current_database():
            pass


def _add_token_commands(app: Flask, tokens: ApiTokens, current_database: CurrentDatabase) -> None:
    @app.cli.command("create-token")
    @click.option("--name", type=TokenName(), default="unnamed", help="What the token is for; revoke-token takes it.")
    @click.option(
        "--scope",
        "scopes",
        type=click.Choice(SCOPES),
        multiple=True,
        default=SCOPES,
        help="run: start generations. read: list models. Both unless you name one.",
    )
    @click.option("--account", type=AccountName(), help="The only account whose addresses it opens; else it opens all.")
    @click.option("--expires", type=Expiry(), help="After 30d or 12h, or at the start of a day (UTC): 2026-12-31.")
    @click.option(
        "--rate-limit",
        type=click.IntRange(1, MOST_A_MINUTE),
        help="Generations a minute, instead of JETON_RATE_LIMIT.",
    )
    @click.option("--start-up", is_flag=True, hidden=True, help="Name it so, and revoke the oldest of earlier starts.")
    def create_token(
        *,
        name: str,
        scopes: Sequence[str],
        account: str | None,
        expires: datetime | None,
        rate_limit: int | None,
        start_up: bool,
    ) -> None:
        """Make an API token and print it, once."""
        with current_database():
            click.echo(
                tokens.create_for_start_up()
                if start_up
                else tokens.create(name, scopes=scopes, account=account, expires_at=expires, rate_limit=rate_limit)
            )

    @app.cli.command("list-tokens")
    @click.option("--all", "has_revoked", is_flag=True, help="Those that are revoked too.")
    @click.option("--json", "is_json", is_flag=True, help="As JSON, for programs.")
    def list_tokens(*, has_revoked: bool, is_json: bool) -> None:
        """List the API tokens, without what is secret of them."""
        with current_database():
            rows = tokens.find_all(has_revoked=has_revoked)
        now = datetime.now(UTC)
        click.echo(json.dumps([describe(row, now) for row in rows], indent=2) if is_json else table(rows, now))

    # A token may begin with a dash.
    @app.cli.command("revoke-token", context_settings={"ignore_unknown_options": True})
    @click.argument("id_name_or_token")
    def revoke_token(id_name_or_token: str) -> None:
        """Revoke a token, by its id or by itself, or all tokens of a name."""
        with current_database():
            count = tokens.revoke(id_name_or_token)
        click.echo(f"{count} revoked")
        sys.exit(0 if count else 1)
