"""What an operator may say of a new API token: its name, its account, how long it lasts. Knows no database."""

import re
from datetime import UTC, datetime, timedelta

import click

from webapp.web.auth import START_UP_NAME

LONGEST_NAME = 100
UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class TokenName(click.ParamType):
    """A name that can be printed, and is never taken for an id."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _is_printable(value):
            self.fail(f"must have 1 to {LONGEST_NAME} characters that can be printed", param, ctx)
        if value.isascii() and value.isdigit():
            self.fail("must not be a number: revoke-token would take it for an id", param, ctx)
        if value == START_UP_NAME:
            self.fail(
                "is the name of the tokens that each start makes, of which only the last ones are kept", param, ctx
            )
        return value


class AccountName(click.ParamType):
    """A name that can stand between two slashes of a path."""

    name = "account"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _is_printable(value) or "/" in value:
            self.fail(f"must have 1 to {LONGEST_NAME} characters that can be printed, and no slash", param, ctx)
        return value


class Expiry(click.ParamType):
    """A moment to come, as aware UTC: so many days, hours or minutes from now, or a date, or a date with a time."""

    name = "when"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            expires_at = _moment(value)
        except (ValueError, OverflowError):
            self.fail(f"must be such as 30d, 12h, 2026-12-31 or 2026-12-31T18:00, not {value!r}", param, ctx)
        if expires_at <= datetime.now(UTC):
            self.fail(f"must be in the future, not {value!r}", param, ctx)
        return expires_at


def _moment(text: str) -> datetime:
    """Raises ValueError and OverflowError."""
    if found := re.fullmatch(r"([0-9]+)([dhm])", text):
        return datetime.now(UTC) + timedelta(**{UNITS[found[2]]: int(found[1])})
    given = datetime.fromisoformat(text)
    return given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)


def _is_printable(text: str) -> bool:
    return 1 <= len(text) <= LONGEST_NAME and text.isprintable() and bool(text.strip())
