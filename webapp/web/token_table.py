"""API tokens as operators see them: what each may do, when it was used, whether it still works. Never a hash."""

from collections.abc import Sequence
from datetime import datetime

from webapp.web.models import ApiToken
from webapp.web.text_table import text_table

COLUMNS = ("id", "name", "scopes", "account", "limit", "created", "expires", "last used", "state")


def describe(token: ApiToken, now: datetime) -> dict[str, object]:
    """One token for programs; times are ISO 8601 in UTC, None is what was not set or has not been."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes.split(),
        "account": token.account,
        "rate_limit": token.rate_limit,
        "created_at": _time(token.created_at, "%Y-%m-%dT%H:%MZ"),
        "expires_at": _time(token.expires_at, "%Y-%m-%dT%H:%MZ"),
        "last_used_at": _time(token.last_used_at, "%Y-%m-%dT%H:%MZ"),
        "state": _state(token, now),
    }


def table(tokens: Sequence[ApiToken], now: datetime) -> str:
    """All of them for people: one line a token, with times in UTC, under a line of headings."""
    return text_table(COLUMNS, [_row(token, now) for token in tokens])


def _row(token: ApiToken, now: datetime) -> tuple[str, ...]:
    times = (token.created_at, token.expires_at, token.last_used_at)
    return (
        str(token.id),
        token.name,
        token.scopes,
        token.account or "-",
        str(token.rate_limit or "-"),
        *(_time(at, "%Y-%m-%d %H:%M") or "-" for at in times),
        _state(token, now),
    )


def _state(token: ApiToken, now: datetime) -> str:
    if token.revoked_at:
        return "revoked"
    return "expired" if token.expires_at and token.expires_at <= now else "active"


def _time(at: datetime | None, form: str) -> str | None:
    return at.strftime(form) if at else None
