"""Commands for operators: `list-links`, `list-reports`, `take-down`. None prints what a shared link shows."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import click
from flask import Flask

from webapp.web.errors import LinkNotFound
from webapp.web.links.store import LinkFacts, ReportedLink, SharedLinks
from webapp.web.text_table import text_table

COLUMNS = ("slug", "model", "created", "expires", "reports", "state")


def add_link_commands(
    app: Flask, links: SharedLinks, current_database: Callable[[], AbstractContextManager[None]]
) -> None:
    """Add the commands to `flask`; `current_database` is entered for each."""

    @app.cli.command("list-links")
    @click.option("--all", "has_gone", is_flag=True, help="Those that are gone too.")
    @click.option("--json", "is_json", is_flag=True, help="As JSON, for programs.")
    def list_links(*, has_gone: bool, is_json: bool) -> None:
        """List the shared links, without what they show."""
        with current_database():
            found = links.find_all(has_gone=has_gone)
        click.echo(json.dumps([_described(*each) for each in found], indent=2) if is_json else _table(found))

    @app.cli.command("list-reports")
    @click.option("--details", "has_details", is_flag=True, help="With what the readers wrote, who may quote the link.")
    @click.option("--json", "is_json", is_flag=True, help="As JSON, for programs.")
    def list_reports(*, has_details: bool, is_json: bool) -> None:
        """List the shared links that readers have reported, and why."""
        with current_database():
            found = links.find_reported()
        described = [_described_report(reported, has_details=has_details) for reported in found]
        if is_json:
            click.echo(json.dumps(described, indent=2))
        for reported in () if is_json else found:
            click.echo("\n".join(_report_lines(reported, has_details=has_details)))

    # A slug may begin with a dash.
    @app.cli.command("take-down", context_settings={"ignore_unknown_options": True})
    @click.argument("slug_or_url")
    def take_down(slug_or_url: str) -> None:
        """Delete what a shared link shows, by its slug or its whole address; it answers 410 from now on."""
        with current_database():
            try:
                facts = links.take_down(_slug(slug_or_url))
            except LinkNotFound as error:
                raise click.ClickException(error.message) from error
        click.echo(f"{facts.slug} is taken down")


def _slug(slug_or_url: str) -> str:
    # Of /s/SLUG, /e/SLUG and what lies under them.
    path = urlsplit(slug_or_url).path.strip("/").split("/")
    for folder in ("s", "e"):
        if folder in path[:-1]:
            return path[path.index(folder) + 1]
    return slug_or_url


def _table(found: Sequence[tuple[LinkFacts, int]]) -> str:
    return text_table(COLUMNS, [_row(link, reports) for link, reports in found])


def _row(link: LinkFacts, reports: int) -> tuple[str, ...]:
    times = (_time(at, "%Y-%m-%d %H:%M") for at in (link.created_at, link.expires_at))
    created, expires = (at or "never" for at in times)
    return (link.slug, link.model_title, created, expires, str(reports or "-"), link.gone or "active")


def _described(link: LinkFacts, reports: int) -> dict[str, object]:
    return {
        "slug": link.slug,
        "model": link.model_title,
        "created_at": _time(link.created_at, "%Y-%m-%dT%H:%MZ"),
        "expires_at": _time(link.expires_at, "%Y-%m-%dT%H:%MZ"),
        "reports": reports,
        "state": link.gone or "active",
    }


def _described_report(reported: ReportedLink, *, has_details: bool) -> dict[str, object]:
    reports = [
        {"at": _time(at, "%Y-%m-%dT%H:%MZ"), "reason": reason} | ({"details": details} if has_details else {})
        for at, reason, details in reported.reports
    ]
    return _described(reported.link, len(reports)) | {"reports": reports}


def _report_lines(reported: ReportedLink, *, has_details: bool) -> list[str]:
    lines = [f"{reported.link.slug}  {reported.link.model_title}"]
    for at, reason, details in reported.reports:
        said = f"  {_printable(details)}" if has_details and details else ""
        lines.append(f"  {_time(at, '%Y-%m-%d %H:%M')}  {reason}{said}")
    return lines


def _printable(text: str) -> str:
    # What strangers wrote must not steer the operator's terminal.
    return "".join(character if character.isprintable() else " " for character in text)


def _time(at: datetime | None, form: str) -> str | None:
    return at.astimezone(UTC).strftime(form) if at else None
