"""The tables. Knows no queries. Times are aware UTC."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, ForeignKey, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time, also in databases that keep no time zone, as SQLite does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Base(DeclarativeBase):
    """What all tables share."""


class ApiToken(Base):
    """A credential for the API. Only its SHA-256 is kept: the token itself has 256 random bits."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    # What it may do, separated by spaces; the names are auth.SCOPES.
    scopes: Mapped[str] = mapped_column(String(100), server_default="run read")
    # The only account whose paths it opens.
    account: Mapped[str | None] = mapped_column(String(100), default=None)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    # To the minute.
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    # Generations a minute; without it the setting's.
    rate_limit: Mapped[int | None] = mapped_column(default=None)


class SharedLink(Base):
    """A run that somebody shares by its slug, which has 128 random bits and more. No address, no user agent."""

    __tablename__ = "shared_link"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(32), unique=True)
    # SHA-256 of the manage key of the browser that made it: who may revoke and extend it.
    manager_hash: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # None is never.
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None, index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    # An operator did it, and not who made it.
    is_taken_down: Mapped[bool] = mapped_column(default=False)
    has_prompt_in_preview: Mapped[bool] = mapped_column(default=True)
    # A SharedRun as JSON; None once the link has expired or was revoked: then there is nothing left to read.
    run: Mapped[str | None] = mapped_column(Text, default=None)


class LinkReport(Base):
    """What somebody says is wrong with a shared link. Not who."""

    __tablename__ = "link_report"

    id: Mapped[int] = mapped_column(primary_key=True)
    link_id: Mapped[int] = mapped_column(ForeignKey("shared_link.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(String(40))
    details: Mapped[str] = mapped_column(String(1000), default="")
