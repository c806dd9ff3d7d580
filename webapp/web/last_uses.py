"""When API tokens were last used, to the minute. No request waits for it: a greenlet writes it behind their backs."""

from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import gevent
from sqlalchemy import update
from sqlalchemy.orm import Session

from webapp.web.database import Database
from webapp.web.errors import StorageBusy, StorageFull
from webapp.web.models import ApiToken

# No token's use is written more often than this.
PRECISION = timedelta(minutes=1)


class LastUses:
    """What this web process has seen used and not yet written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # One for each token that was ever used here.
        self._noted: dict[int, datetime] = {}
        self._unwritten: dict[int, datetime] = {}
        # One writes for all: a database that is held costs one thread.
        self._writer: gevent.Greenlet | None = None

    def note(self, token_id: int, now: datetime, *, last_used_at: datetime | None) -> None:
        """The token is used now; `last_used_at` is what the database says, where another process may have written."""
        if _is_fresh(last_used_at, now) or _is_fresh(self._noted.get(token_id), now):
            return
        self._noted[token_id] = self._unwritten[token_id] = now
        if self._writer is None or self._writer.dead:
            self._writer = gevent.spawn(self._write)

    def _write(self) -> None:
        while self._unwritten:
            uses, self._unwritten = self._unwritten, {}
            # Where it cannot be written, the next use after a minute is.
            with suppress(StorageBusy, StorageFull):
                self._database.run(partial(_update, uses=uses))


def _is_fresh(at: datetime | None, now: datetime) -> bool:
    # A clock that was set back makes no use look recent.
    return at is not None and timedelta(0) <= now - at < PRECISION


def _update(session: Session, *, uses: dict[int, datetime]) -> None:
    for token_id, used_at in uses.items():
        session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=used_at))
