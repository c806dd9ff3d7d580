"""How often one caller may start generations, or be wrong about an API token. Knows no shape of an answer.

Each web process counts for itself and allows its share, so that together they never allow more than the limit;
a caller whose connections all lead to one process gets that one's share (docs/decisions/0009-limits.md).
"""

import math
import time

from flask import Request
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from msgspec import Struct

from webapp.web.auth import Holder
from webapp.web.callers import is_local, network
from webapp.web.errors import InvalidFields, RateLimitReached, WrongTokenLimitReached

# Enough for somebody who mixes up a few tokens.
WRONG_TOKENS_A_MINUTE = 10
# More than somebody shares by hand.
LINKS_A_MINUTE = 20
# More than somebody who reads what they report.
REPORTS_A_MINUTE = 10
# As with API tokens.
MANAGE_KEYS_A_MINUTE = 10
# A page asks when somebody pauses in typing: two a second, for as long as a minute.
TOKEN_COUNTS_A_MINUTE = 120
WINDOW_SECONDS = 60


class Quota(Struct, frozen=True, kw_only=True):
    """What a caller may start in this web process: so many a minute, of which so many now; more after some seconds."""

    a_minute: int
    left: int
    more_after_seconds: int


class RateLimits:
    """The limits of this web process. Callers on this machine have none but their API token's own."""

    def __init__(self, *, generations_a_minute: int, web_processes: int) -> None:
        # Its windows are named by the clock: one that is set back or forward starts a new window, and locks nobody out.
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._a_minute = generations_a_minute
        self._web_processes = web_processes

    def count_generation(self, request: Request, *, holder: Holder | None = None, count: int = 1) -> None:
        """So many generations are about to start, for the holder of an API token or else for the caller's address.

        Raises RateLimitReached, and then counts none of them; InvalidFields where no whole minute has so many.
        """
        a_minute = self._generations_a_minute(request, holder)
        if a_minute is None:
            return
        share = self._share(a_minute)
        if count > share.amount:
            # To come back later would be in vain.
            raise InvalidFields({"n": f"at most {share.amount} generations may start in one minute here"})
        retry_after = self._hit(share, *_generations_of(request, holder), count=count)
        if retry_after is not None:
            whom = "this API token" if holder else "your address"
            message = f"At most {a_minute} generations a minute for {whom}; please try again later."
            raise RateLimitReached(message, retry_after=retry_after)

    def generation_quota(self, request: Request, *, holder: Holder | None = None) -> Quota | None:
        """What is left to whoever count_generation counts; None where there is no limit."""
        a_minute = self._generations_a_minute(request, holder)
        if a_minute is None:
            return None
        share = self._share(a_minute)
        whom = _generations_of(request, holder)
        left = self._limiter.get_window_stats(share, *whom).remaining
        return Quota(a_minute=share.amount, left=left, more_after_seconds=self._seconds_until_more(share, *whom))

    def count_wrong_token(self, request: Request) -> None:
        """The caller's API token is wrong. Raises WrongTokenLimitReached; ask nobody whose token is right."""
        if is_local(request):
            return
        retry_after = self._hit(self._share(WRONG_TOKENS_A_MINUTE), "wrong tokens", network(request))
        if retry_after is not None:
            raise WrongTokenLimitReached("Too many wrong API tokens from your address.", retry_after=retry_after)

    def count_link(self, request: Request) -> None:
        """A shared link is about to be made from the caller's address. Raises RateLimitReached."""
        message = f"At most {LINKS_A_MINUTE} shared links a minute for your address; please try again later."
        self._count(request, "links", LINKS_A_MINUTE, message=message)

    def count_token_count(self, request: Request) -> None:
        """The tokens of a prompt are to be counted for the caller's address. Raises RateLimitReached."""
        message = f"Tokens are counted at most {TOKEN_COUNTS_A_MINUTE} times a minute for your address."
        self._count(request, "token counts", TOKEN_COUNTS_A_MINUTE, message=message)

    def count_report(self, request: Request) -> None:
        """A shared link is about to be reported from the caller's address. Raises RateLimitReached."""
        message = f"At most {REPORTS_A_MINUTE} reports a minute for your address; please try again later."
        self._count(request, "reports", REPORTS_A_MINUTE, message=message)

    def count_manage_key(self, request: Request) -> None:
        """Somebody at the caller's address is about to try a manage key. Raises RateLimitReached."""
        message = f"At most {MANAGE_KEYS_A_MINUTE} manage keys a minute for your address; please try again later."
        self._count(request, "manage keys", MANAGE_KEYS_A_MINUTE, message=message)

    def _count(self, request: Request, what: str, a_minute: int, *, message: str) -> None:
        retry_after = None if is_local(request) else self._hit(self._share(a_minute), what, network(request))
        if retry_after is not None:
            raise RateLimitReached(message, retry_after=retry_after)

    def _generations_a_minute(self, request: Request, holder: Holder | None) -> int | None:
        if holder and holder.rate_limit:
            return holder.rate_limit
        return self._a_minute if self._a_minute and not is_local(request) else None

    def _share(self, a_minute: int) -> RateLimitItem:
        return RateLimitItemPerMinute(max(1, a_minute // self._web_processes))

    def _hit(self, limit: RateLimitItem, *whom: str, count: int = 1) -> int | None:
        """Count so many more; where that is too many, none, and after how many seconds it is worth trying again."""
        return None if self._limiter.hit(limit, *whom, cost=count) else self._seconds_until_more(limit, *whom)

    def _seconds_until_more(self, limit: RateLimitItem, *whom: str) -> int:
        reset_at = self._limiter.get_window_stats(limit, *whom).reset_time
        return min(WINDOW_SECONDS, max(1, math.ceil(reset_at - time.time())))


def _generations_of(request: Request, holder: Holder | None) -> tuple[str, str]:
    return "generations", holder.name if holder else network(request)
