"""Commands for operators: `flask create-token`, `flask revoke-token`, `flask upgrade-database`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from flask import Flask

from webapp.web.auth import ApiTokens
from webapp.web.database import Database
from webapp.web.errors import StorageBusy, StorageFull


def add_commands(app: Flask, *, database: Database, database_lock: Path, tokens: ApiTokens) -> None:
    """Add the commands to `flask`. Each brings the schema up to date first."""

    @contextmanager
    def current_database() -> Iterator[None]:
        try:
            database.upgrade(database_lock)
            yield
        except (StorageBusy, StorageFull) as error:
            raise click.ClickException(error.message) from error

    @app.cli.command("create-token")
    @click.option("--name", default="unnamed", help="What the token is for; revoke-token takes it.")
    @click.option("--start-up", is_flag=True, help="Name it so, and revoke the oldest of earlier starts.")
    def create_token(*, name: str, start_up: bool) -> None:
        """Make an API token and print it, once."""
        with current_database():
            click.echo(tokens.create_for_start_up() if start_up else tokens.create(name))

    @app.cli.command("revoke-token")
    @click.argument("name_or_token")
    def revoke_token(name_or_token: str) -> None:
        """Revoke a token, or all tokens of a name."""
        with current_database():
            count = tokens.revoke(name_or_token)
        click.echo(f"{count} revoked")
        sys.exit(0 if count else 1)

    @app.cli.command("upgrade-database")
    def upgrade_database() -> None:
        """Bring the database's schema up to date; gunicorn does it at its start."""
        with current_database():
            pass
