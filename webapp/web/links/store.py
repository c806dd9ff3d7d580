"""Shared links in the database: made, opened, revoked, extended, reported, purged. Knows no page.

Only hashes of manage keys are kept. What a link shows is deleted once it is gone; that it was there is known for
some months more, so that its address answers 410 and not 404.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session, defer, undefer

from webapp.web.database import Database
from webapp.web.errors import (
    InvalidFields,
    LinkForbidden,
    LinkGone,
    LinkNotFound,
    LinkQuotaReached,
    RequestError,
    RunNotShareable,
    StorageBusy,
    StorageFull,
)
from webapp.web.links.shared_run import SharedRun
from webapp.web.models import LinkReport, SharedLink

T = TypeVar("T")
Gone = Literal["expired", "revoked", "taken down"]

# For how many days a link may be kept, besides for ever.
LIFETIMES_DAYS = (1, 7, 30)
DEFAULT_LIFETIME_DAYS = 7
REPORT_REASONS = ("personal", "illegal", "hateful", "spam", "other")
LONGEST_DETAILS = 1000

SLUG_BYTES = 16
SLUG = re.compile(r"[A-Za-z0-9_-]{20,32}")
# As JSON. The longest prompt that a page takes and the longest answer of the catalogue have room in it.
LARGEST_RUN_BYTES = 1_000_000
LONGEST_OPENING = 100
# A browser's own list; there are more only where many were revoked.
MOST_LISTED = 500
# Of one link: whoever reports it a hundred times says no more than fifty.
MOST_REPORTS = 50
# For how long it is known that a link was there.
MEMORY = timedelta(days=90)
# In one transaction: others who write wait for it.
PURGED_AT_ONCE = 50

GONE_SENTENCES: dict[Gone, str] = {
    "expired": "This shared link has expired. Its text is deleted.",
    "revoked": "This shared link was revoked by whoever made it. Its text is deleted.",
    "taken down": "This shared link was taken down by the operator of this server. Its text is deleted.",
}


class LinkFacts(Struct, frozen=True, kw_only=True):
    """A link without its run. Times are aware UTC; without `expires_at` it never expires.

    `gone` is why it can no longer be opened. `opening` is how its prompt begins, on one line.
    """

    slug: str
    created_at: datetime
    expires_at: datetime | None
    gone: Gone | None
    has_prompt_in_preview: bool
    model_title: str
    opening: str


class ReportedLink(Struct, frozen=True, kw_only=True):
    """A link and what was said of it, newest first: when, the reason, the details."""

    link: LinkFacts
    reports: tuple[tuple[datetime, str, str], ...]


class SharedLinks:
    """All shared links, for views: every method runs its query in a thread. All raise StorageBusy and StorageFull.

    A `manage_key` is the browser's own secret: only its SHA-256 is kept.
    """

    def __init__(
        self,
        database: Database,
        *,
        most_of_one: int = 200,
        most: int = 20_000,
        is_for_ever_allowed: bool = False,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.is_for_ever_allowed = is_for_ever_allowed
        self._database = database
        self._most_of_one = most_of_one
        self._most = most
        self._now = now or _utc_now

    def create(
        self, run: SharedRun, *, manage_key: str, lifetime_days: int | None, has_prompt_in_preview: bool
    ) -> LinkFacts:
        """Keep the run under a new slug; None days is for ever.

        Raises InvalidFields, LinkQuotaReached, and RunNotShareable where it is too large.
        """
        now = self._now()
        row = SharedLink(
            slug=secrets.token_urlsafe(SLUG_BYTES),
            manager_hash=_hash(manage_key),
            created_at=now,
            expires_at=self._expiry(lifetime_days, now),
            has_prompt_in_preview=has_prompt_in_preview,
            model_title=run.model_title[:200],
            opening=_opening(run),
        )

        def work(session: Session) -> LinkFacts:
            row.run = _encode(run)
            # Whoever counts meanwhile waits: no two of them take the last place.
            self._database.be_alone(session, "shared links")
            is_there = _is_there(now)
            own = SharedLink.manager_hash == row.manager_hash
            if _count(session, is_there, own) >= self._most_of_one:
                raise LinkQuotaReached("This browser has as many shared links as it may: revoke one of them first.")
            if _count(session, is_there) >= self._most:
                raise LinkQuotaReached("This server has as many shared links as it may: try again another day.")
            session.add(row)
            return _facts(row, now)

        return self._database.run(work)

    def open(self, slug: str) -> tuple[LinkFacts, SharedRun]:
        """The link and its run. Raises LinkNotFound, and LinkGone where it has expired, was revoked or taken down."""
        now = self._now()

        def work(session: Session) -> tuple[LinkFacts, SharedRun | None, bool]:
            row = _find(session, slug, has_run=True)
            facts = _facts(row, now)
            run = None if facts.gone or row.run is None else msgspec.json.decode(row.run, type=SharedRun)
            return facts, run, facts.gone is not None and row.run is not None

        facts, run, has_text_left = self._database.run(work)
        if run is None:
            if has_text_left:
                self._purge_at_once()
            raise _gone(facts.gone or "expired")
        return facts, run

    def find_gone(self, slugs: Collection[str]) -> set[str]:
        """Those of them that cannot be opened, by now."""
        wanted = select(SharedLink.slug).where(SharedLink.slug.in_(slugs), _is_there(self._now()))
        return set(slugs) - set(self._database.run(lambda session: session.scalars(wanted).all()))

    def all_of(self, manage_key: str) -> list[LinkFacts]:
        """The links that this key made, newest first, and for some months those that are gone."""
        now = self._now()
        own = select(SharedLink).where(SharedLink.manager_hash == _hash(manage_key)).options(defer(SharedLink.run))
        # Where not all have room, those that can still be revoked do.
        listed = own.order_by(SharedLink.gone_at.is_not(None), SharedLink.id.desc()).limit(MOST_LISTED)

        def work(session: Session) -> list[LinkFacts]:
            rows = sorted(session.scalars(listed), key=lambda row: -row.id)
            return [_facts(row, now) for row in rows]

        return self._database.run(work)

    def is_managed_by(self, slug: str, manage_key: str) -> bool:
        """Whether this key may revoke and extend the link. Of none that there is, no."""

        def work(session: Session) -> bool:
            try:
                return _is_managed(_find(session, slug), manage_key)
            except LinkNotFound:
                return False

        return self._database.run(work)

    def revoke(self, slug: str, manage_key: str) -> LinkFacts:
        """Delete its text; everybody hears 410 from now on. Raises LinkNotFound, LinkForbidden. Idempotent."""
        now = self._now()

        def work(session: Session) -> LinkFacts:
            row = _find_managed(session, slug, manage_key)
            if row.gone_at is None:
                _empty(session, SharedLink.id == row.id, gone_at=now, gone_as="revoked")
                session.refresh(row)
            return _facts(row, now)

        facts = self._database.run(work)
        self._database.scrub()
        return facts

    def take_down(self, slug: str) -> LinkFacts:
        """As revoke, by the operator. Raises LinkNotFound. Idempotent."""
        now = self._now()

        def work(session: Session) -> LinkFacts:
            row = _find(session, slug)
            _empty(session, SharedLink.id == row.id, gone_at=row.gone_at or now, gone_as="taken down")
            session.refresh(row)
            return _facts(row, now)

        facts = self._database.run(work)
        self._database.scrub()
        return facts

    def extend(self, slug: str, manage_key: str, *, lifetime_days: int | None) -> LinkFacts:
        """It expires so many days from now. Raises LinkNotFound, LinkGone, LinkForbidden, InvalidFields."""
        now = self._now()
        expires_at = self._expiry(lifetime_days, now)

        def work(session: Session) -> LinkFacts:
            row = _find_managed(session, slug, manage_key)
            if gone := _facts(row, now).gone:
                raise _gone(gone)
            # Not where another request has revoked it meanwhile.
            session.execute(
                update(SharedLink).where(SharedLink.id == row.id, _is_there(now)).values(expires_at=expires_at)
            )
            session.refresh(row)
            return _facts(row, now)

        return self._database.run(work)

    def report(self, slug: str, *, reason: str, details: str) -> None:
        """Keep what is wrong with it, for the operator. Raises LinkNotFound, LinkGone, InvalidFields."""
        now = self._now()
        if reason not in REPORT_REASONS:
            raise InvalidFields({"reason": f"must be one of {', '.join(REPORT_REASONS)}"})
        if len(details) > LONGEST_DETAILS:
            raise InvalidFields({"details": f"must have at most {LONGEST_DETAILS} characters"})

        def work(session: Session) -> None:
            row = _find(session, slug)
            if gone := _facts(row, now).gone:
                raise _gone(gone)
            count = select(func.count()).select_from(LinkReport).where(LinkReport.link_id == row.id)
            if session.scalars(count).one() < MOST_REPORTS:
                # PostgreSQL's texts hold no NUL.
                text = details.replace("\0", "\N{REPLACEMENT CHARACTER}")
                session.add(LinkReport(link_id=row.id, created_at=now, reason=reason, details=text))

        self._database.run(work)

    def find_all(self, *, has_gone: bool = False) -> list[tuple[LinkFacts, int]]:
        """All links, oldest first, and how often each was reported; those that are gone too where asked for."""
        now = self._now()
        count = select(func.count()).where(LinkReport.link_id == SharedLink.id).scalar_subquery()
        which = select(SharedLink, count).options(defer(SharedLink.run)).order_by(SharedLink.id)
        if not has_gone:
            which = which.where(_is_there(now))
        return self._database.run(
            lambda session: [(_facts(row, now), reports) for row, reports in session.execute(which)]
        )

    def find_reported(self) -> list[ReportedLink]:
        """The links that are there and were reported, the most often reported first."""
        now = self._now()
        which = (
            select(SharedLink, LinkReport)
            .join(LinkReport, LinkReport.link_id == SharedLink.id)
            .where(_is_there(now))
            .options(defer(SharedLink.run))
            .order_by(LinkReport.id.desc())
        )

        def work(session: Session) -> list[ReportedLink]:
            links: dict[str, LinkFacts] = {}
            reports: dict[str, list[tuple[datetime, str, str]]] = {}
            for row, report in session.execute(which):
                links[row.slug] = _facts(row, now)
                reports.setdefault(row.slug, []).append((report.created_at, report.reason, report.details))
            found = [ReportedLink(link=link, reports=tuple(reports[slug])) for slug, link in links.items()]
            return sorted(found, key=lambda reported: -len(reported.reports))

        return self._database.run(work)

    def purge(self) -> int:
        """Delete the text of what has expired, and all of what is gone for long; how many texts that were."""
        now = self._now()
        count = 0
        while emptied := self._database.run(lambda session: _empty_expired(session, now)):
            count += emptied
        self._database.run(lambda session: _forget(session, now))
        # Also where nothing has expired: what was deleted a moment ago could not be overwritten while others read.
        self._database.scrub()
        return count

    def _purge_at_once(self) -> None:
        # Where it cannot be written now, it is at the next purge; the reader is told the same.
        try:
            self.purge()
        except (StorageBusy, StorageFull):
            return

    def _expiry(self, lifetime_days: int | None, now: datetime) -> datetime | None:
        if lifetime_days is None:
            if not self.is_for_ever_allowed:
                raise InvalidFields({"lifetime_days": "a link that never expires is not allowed on this server"})
            return None
        if lifetime_days not in LIFETIMES_DAYS:
            raise InvalidFields({"lifetime_days": f"must be one of {', '.join(map(str, LIFETIMES_DAYS))}"})
        return now + timedelta(days=lifetime_days)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _hash(manage_key: str) -> str:
    return hashlib.sha256(manage_key.encode("utf-8", "surrogatepass")).hexdigest()


def _encode(run: SharedRun) -> str:
    encoded = msgspec.json.encode(run)
    if len(encoded) > LARGEST_RUN_BYTES:
        raise RunNotShareable("This run is too long to be shared.")
    return encoded.decode()


def _opening(run: SharedRun) -> str:
    text = run.last_prompt[: 4 * LONGEST_OPENING].replace("\0", " ")
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_OPENING else line[: LONGEST_OPENING - 1].rstrip() + "…"


def _is_there(now: datetime) -> ColumnElement[bool]:
    return SharedLink.gone_at.is_(None) & (SharedLink.expires_at.is_(None) | (SharedLink.expires_at > now))


def _count(session: Session, *which: ColumnElement[bool]) -> int:
    return session.scalars(select(func.count()).select_from(SharedLink).where(*which)).one()


def _find(session: Session, slug: str, *, has_run: bool = False) -> SharedLink:
    # What cannot be one is not looked for: a database may refuse the text itself.
    wanted = select(SharedLink).where(SharedLink.slug == slug)
    run = undefer(SharedLink.run) if has_run else defer(SharedLink.run)
    row = session.scalar(wanted.options(run)) if SLUG.fullmatch(slug) else None
    if row is None:
        raise LinkNotFound("There is no such shared link.")
    return row


def _find_managed(session: Session, slug: str, manage_key: str) -> SharedLink:
    row = _find(session, slug)
    if not _is_managed(row, manage_key):
        raise LinkForbidden("Only the browser that made this shared link may change it.")
    return row


def _is_managed(row: SharedLink, manage_key: str) -> bool:
    return hmac.compare_digest(row.manager_hash, _hash(manage_key))


def _facts(row: SharedLink, now: datetime) -> LinkFacts:
    is_expired = row.expires_at is not None and row.expires_at <= now
    gone = row.gone_as or ("expired" if is_expired else None)
    return LinkFacts(
        slug=row.slug,
        created_at=row.created_at,
        expires_at=row.expires_at,
        gone=msgspec.convert(gone, Gone | None),
        has_prompt_in_preview=row.has_prompt_in_preview,
        model_title=row.model_title,
        opening="" if gone else row.opening,
    )


def _gone(why: Gone) -> RequestError:
    return LinkGone(GONE_SENTENCES[why])


def _empty(session: Session, which: ColumnElement[bool], *, gone_at: object, gone_as: Gone) -> None:
    ids = select(SharedLink.id).where(which)
    # They may quote it.
    session.execute(update(LinkReport).where(LinkReport.link_id.in_(ids)).values(details=""))
    emptied = update(SharedLink).where(which).values(run=None, opening="", gone_at=gone_at, gone_as=gone_as)
    session.execute(emptied.execution_options(synchronize_session=False))


def _empty_expired(session: Session, now: datetime) -> int:
    expired = select(SharedLink.id).where(SharedLink.gone_at.is_(None), SharedLink.expires_at <= now)
    # What another process is at is left to it; SQLite lets only one write anyway.
    mine = expired.order_by(SharedLink.id).limit(PURGED_AT_ONCE).with_for_update(skip_locked=True)
    ids: Sequence[int] = session.scalars(mine).all()
    if ids:
        _empty(session, SharedLink.id.in_(ids), gone_at=SharedLink.expires_at, gone_as="expired")
    return len(ids)


def _forget(session: Session, now: datetime) -> None:
    session.execute(delete(SharedLink).where(SharedLink.gone_at < now - MEMORY))
