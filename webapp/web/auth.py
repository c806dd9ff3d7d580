"""API tokens: making, listing, revoking, checking. Only hashes are kept, and no token is ever logged.

Knows no route, and no account but by its name.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from flask import Request
from msgspec import Struct
from sqlalchemy import ColumnElement, false, select
from sqlalchemy.orm import Session

from webapp.web.database import Database
from webapp.web.errors import ApiTokenInvalid, ApiTokenMissing
from webapp.web.last_uses import LastUses
from webapp.web.models import ApiToken

# What an API token may do: start generations, and read what there is.
SCOPES = ("run", "read")
START_UP_NAME = "start-up"
# Each start makes a token; scripts that hold one of the last few go on working.
MOST_START_UP_TOKENS = 10
LONGEST_TOKEN = 512
# In digits.
LONGEST_ID = 9


class Holder(Struct, frozen=True, kw_only=True):
    """Who has shown an API token, and what it lets them do. The name tells nothing of the token."""

    name: str
    scopes: frozenset[str] = frozenset(SCOPES)
    # The only account it is for; None is all of them.
    account: str | None = None
    # Generations a minute; None is what holds for everybody.
    rate_limit: int | None = None


class ApiTokens:
    """The tokens in the database, and those that settings may add."""

    def __init__(self, database: Database, *, known_token: str | None, operator_token: str | None) -> None:
        self._database = database
        self._last_uses = LastUses(database)
        self._known_hash = _hash(known_token) if known_token else None
        self._operator_hash = _hash(operator_token) if operator_token else None

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[str] = SCOPES,
        account: str | None = None,
        expires_at: datetime | None = None,
        rate_limit: int | None = None,
    ) -> str:
        """A new token; it cannot be shown again."""
        token = secrets.token_urlsafe(32)
        row = ApiToken(
            name=name,
            token_hash=_hash(token),
            created_at=datetime.now(UTC),
            scopes=" ".join(scope for scope in SCOPES if scope in scopes),
            account=account,
            expires_at=expires_at,
            rate_limit=rate_limit,
        )
        self._database.run(lambda session: session.add(row))
        return token

    def create_for_start_up(self) -> str:
        """A new token for this start, in place of the oldest of earlier starts."""
        self._database.run(_revoke_old_start_up_tokens)
        return self.create(START_UP_NAME)

    def find_all(self, *, has_revoked: bool = False) -> Sequence[ApiToken]:
        """All tokens, oldest first; the revoked ones too where asked for."""
        which = select(ApiToken).order_by(ApiToken.id)
        if not has_revoked:
            which = which.where(ApiToken.revoked_at.is_(None))
        return self._database.run(lambda session: session.scalars(which).all())

    def revoke(self, id_name_or_token: str) -> int:
        """Revoke the token with this id, or this very token, or all of a name; how many that were."""

        def work(session: Session) -> int:
            active = select(ApiToken).where(ApiToken.revoked_at.is_(None))
            rows = session.scalars(active.where(_is_meant(id_name_or_token))).all()
            for row in rows:
                row.revoked_at = datetime.now(UTC)
            return len(rows)

        return self._database.run(work)

    def authenticate(self, request: Request) -> Holder:
        """Who is asking. Raises ApiTokenMissing, ApiTokenInvalid and StorageBusy."""
        token = _shown_token(request)
        if not token:
            raise ApiTokenMissing("Missing Authorization header: send 'Authorization: Bearer <token>'.")
        token_hash = _hash(token)
        if self._known_hash and hmac.compare_digest(token_hash, self._known_hash):
            return Holder(name="token:known")
        if self._is_operator(token_hash):
            return Holder(name="token:operator")
        row = self._database.run(lambda session: _find_active(session, token_hash)) if _is_plausible(token) else None
        now = datetime.now(UTC)
        if row is None or (row.expires_at and row.expires_at <= now):
            raise ApiTokenInvalid("This API token is unknown, revoked or expired.")
        self._last_uses.note(row.id, now, last_used_at=row.last_used_at)
        return Holder(
            name=f"token:{row.id}",
            scopes=frozenset(row.scopes.split()),
            account=row.account,
            rate_limit=row.rate_limit,
        )

    def is_operator(self, request: Request) -> bool:
        """Whether the request carries the operator's token."""
        return self._is_operator(_hash(_shown_token(request)))

    def _is_operator(self, token_hash: str) -> bool:
        return self._operator_hash is not None and hmac.compare_digest(token_hash, self._operator_hash)


def _shown_token(request: Request) -> str:
    """The token of the Authorization header, or else of X-Auth-Key, where Cloudflare's SDKs put an `api_key`.

    Empty where there is none. X-Auth-Email, which they send beside it, says nothing here.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    bearer_token = token.strip() if scheme.lower() == "bearer" else ""
    return bearer_token or request.headers.get("X-Auth-Key", "").strip()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _is_plausible(token: str) -> bool:
    return len(token) <= LONGEST_TOKEN


def _find_active(session: Session, token_hash: str) -> ApiToken | None:
    # Looked up by the hash, whose bytes an attacker cannot choose: the time it takes tells nothing.
    return session.scalar(select(ApiToken).where(ApiToken.token_hash == token_hash, ApiToken.revoked_at.is_(None)))


def _is_meant(text: str) -> ColumnElement[bool]:
    # No name is a number, so that ids and names are never taken for each other.
    if text.isascii() and text.isdigit():
        # A longer one is no id, and would not fit into the database's numbers.
        return ApiToken.id == int(text) if len(text) <= LONGEST_ID else false()
    return (ApiToken.token_hash == _hash(text)) | (ApiToken.name == text)


def _revoke_old_start_up_tokens(session: Session) -> None:
    active = select(ApiToken).where(ApiToken.name == START_UP_NAME, ApiToken.revoked_at.is_(None))
    newest_first = session.scalars(active.order_by(ApiToken.id.desc())).all()
    for row in newest_first[MOST_START_UP_TOKENS - 1 :]:
        row.revoked_at = datetime.now(UTC)
