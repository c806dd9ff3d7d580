"""Shared links in the database. Knows no page."""

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from webapp.web.database import Database
from webapp.web.links.shared_run import SharedRun

# For how many days a link may be kept, besides for ever.
LIFETIMES_DAYS = (1, 7, 30)
DEFAULT_LIFETIME_DAYS = 7


class LinkFacts(Struct, frozen=True, kw_only=True):
    """A link without its text. Times are aware UTC; without `expires_at` it never expires."""

    slug: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    is_taken_down: bool
    has_prompt_in_preview: bool


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
        self._database = database

    def create(
        self, run: SharedRun, *, manage_key: str, lifetime_days: int | None, has_prompt_in_preview: bool
    ) -> LinkFacts:
        """Keep the run under a new slug; None days is for ever. Raises LinkQuotaReached, InvalidFields."""
        raise NotImplementedError

    def open(self, slug: str) -> tuple[LinkFacts, SharedRun]:
        """The link and its run. Raises LinkNotFound, and LinkGone where it has expired, was revoked or taken down."""
        raise NotImplementedError

    def all_of(self, manage_key: str) -> list[tuple[LinkFacts, SharedRun | None]]:
        """The links that this key made, newest first; without the run where the link is gone."""
        raise NotImplementedError

    def is_managed_by(self, slug: str, manage_key: str) -> bool:
        """Whether this key may revoke and extend the link."""
        raise NotImplementedError

    def revoke(self, slug: str, manage_key: str) -> None:
        """Delete its text; everybody hears 410 from now on. Raises LinkNotFound, LinkForbidden. Idempotent."""
        raise NotImplementedError

    def extend(self, slug: str, manage_key: str, *, lifetime_days: int | None) -> LinkFacts:
        """It expires so many days from now. Raises LinkNotFound, LinkGone, LinkForbidden, InvalidFields."""
        raise NotImplementedError

    def report(self, slug: str, *, reason: str, details: str) -> None:
        """Keep what is wrong with it, for the operator. Raises LinkNotFound, LinkGone, InvalidFields."""
        raise NotImplementedError
