"""API tokens: making, revoking, checking. Only hashes are kept, and no token is ever logged."""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime

from flask import Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from webapp.web.database import Database
from webapp.web.errors import ApiTokenInvalid, ApiTokenMissing
from webapp.web.models import ApiToken

START_UP_NAME = "start-up"
# Each start makes a token; scripts that hold one of the last few go on working.
MOST_START_UP_TOKENS = 10
LONGEST_TOKEN = 512


class ApiTokens:
    """The tokens in the database, and the one that a setting may add."""

    def __init__(self, database: Database, *, known_token: str | None, operator_token: str | None) -> None:
        self._database = database
        self._known_hash = _hash(known_token) if known_token else None
        self._operator_hash = _hash(operator_token) if operator_token else None

    def create(self, name: str) -> str:
        """A new token; it cannot be shown again."""
        token = secrets.token_urlsafe(32)
        row = ApiToken(name=name, token_hash=_hash(token), created_at=datetime.now(UTC))
        self._database.run(lambda session: session.add(row))
        return token

    def create_for_start_up(self) -> str:
        """A new token for this start, in place of the oldest of earlier starts."""
        self._database.run(_revoke_old_start_up_tokens)
        return self.create(START_UP_NAME)

    def revoke(self, name_or_token: str) -> int:
        """Revoke a token, or all of one name; how many that were."""

        def work(session: Session) -> int:
            same = (ApiToken.token_hash == _hash(name_or_token)) | (ApiToken.name == name_or_token)
            rows = session.scalars(select(ApiToken).where(same, ApiToken.revoked_at.is_(None))).all()
            for row in rows:
                row.revoked_at = datetime.now(UTC)
            return len(rows)

        return self._database.run(work)

    def authenticate(self, request: Request) -> str:
        """Who is asking: a name for the token's holder that tells nothing of the token.

        Raises ApiTokenMissing and ApiTokenInvalid.
        """
        token = _bearer_token(request)
        if not token:
            raise ApiTokenMissing("Missing Authorization header: send 'Authorization: Bearer <token>'.")
        token_hash = _hash(token)
        if self._known_hash and hmac.compare_digest(token_hash, self._known_hash):
            return "token:known"
        if self._is_operator(token_hash):
            return "token:operator"
        token_id = (
            self._database.run(lambda session: _find_active(session, token_hash)) if _is_plausible(token) else None
        )
        if token_id is None:
            raise ApiTokenInvalid("Authentication error")
        return f"token:{token_id}"

    def is_operator(self, request: Request) -> bool:
        """Whether the request carries the operator's token."""
        return self._is_operator(_hash(_bearer_token(request)))

    def _is_operator(self, token_hash: str) -> bool:
        return self._operator_hash is not None and hmac.compare_digest(token_hash, self._operator_hash)


def _bearer_token(request: Request) -> str:
    """The token of the Authorization header; empty where there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _is_plausible(token: str) -> bool:
    return len(token) <= LONGEST_TOKEN


def _find_active(session: Session, token_hash: str) -> int | None:
    # Looked up by the hash, whose bytes an attacker cannot choose: the time it takes tells nothing.
    return session.scalar(select(ApiToken.id).where(ApiToken.token_hash == token_hash, ApiToken.revoked_at.is_(None)))


def _revoke_old_start_up_tokens(session: Session) -> None:
    active = select(ApiToken).where(ApiToken.name == START_UP_NAME, ApiToken.revoked_at.is_(None))
    newest_first = session.scalars(active.order_by(ApiToken.id.desc())).all()
    for row in newest_first[MOST_START_UP_TOKENS - 1 :]:
        row.revoked_at = datetime.now(UTC)
