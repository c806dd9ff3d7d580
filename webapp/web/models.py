"""The tables. Knows no queries. Times are aware UTC."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time, also in databases that keep no time zone, as SQLite does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        if value is None:
            return None
        # Others give it in a time zone of their own.
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


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
    """A run that somebody shares by its slug, which has 128 random bits and more. No address, no user agent.

    Once it is gone, what was asked and answered is deleted: `opening` is empty and `run` is None.
    """

    __tablename__ = "shared_link"
    # Those that are there, and those of them that have expired.
    __table_args__ = (Index("ix_shared_link_gone_at_expires_at", "gone_at", "expires_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(32), unique=True)
    # SHA-256 of the manage key of the browser that made it: who may revoke and extend it.
    manager_hash: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # None is never.
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    gone_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    # expired, revoked or taken down; None while it is there.
    gone_as: Mapped[str | None] = mapped_column(String(20), default=None)
    has_prompt_in_preview: Mapped[bool] = mapped_column(default=True)
    model_title: Mapped[str] = mapped_column(String(200))
    # The first words of the prompt, for the list of who made it.
    opening: Mapped[str] = mapped_column(String(100), default="")
    # A SharedRun as JSON.
    run: Mapped[str | None] = mapped_column(Text, default=None)


class LinkReport(Base):
    """What somebody says is wrong with a shared link. Not who."""

    __tablename__ = "link_report"

    id: Mapped[int] = mapped_column(primary_key=True)
    link_id: Mapped[int] = mapped_column(ForeignKey("shared_link.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(String(40))
    details: Mapped[str] = mapped_column(String(1000), default="")
