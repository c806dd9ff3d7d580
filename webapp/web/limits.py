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

from webapp.web.callers import is_local, network
from webapp.web.errors import RateLimitReached, WrongTokenLimitReached

# Enough for somebody who mixes up a few tokens.
WRONG_TOKENS_A_MINUTE = 10


class RateLimits:
    """The limits of this web process. Callers on this machine have none."""

    def __init__(self, *, generations_a_minute: int, web_processes: int) -> None:
        # Its windows are named by the clock: one that is set back or forward starts a new window, and locks nobody out.
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._limit = generations_a_minute
        self._generations = _share(generations_a_minute, web_processes) if generations_a_minute else None
        self._wrong_tokens = _share(WRONG_TOKENS_A_MINUTE, web_processes)

    def count_generation(self, request: Request, *, holder: str | None = None) -> None:
        """A generation is about to start, for the holder of an API token or else for the caller's address.

        Raises RateLimitReached.
        """
        if self._generations is None or is_local(request):
            return
        retry_after = self._hit(self._generations, "generations", holder or network(request))
        if retry_after is not None:
            whom = "this API token" if holder else "your address"
            message = f"At most {self._limit} generations a minute for {whom}; please try again later."
            raise RateLimitReached(message, retry_after=retry_after)

    def count_wrong_token(self, request: Request) -> None:
        """The caller's API token is wrong. Raises WrongTokenLimitReached; ask nobody whose token is right."""
        if is_local(request):
            return
        retry_after = self._hit(self._wrong_tokens, "wrong tokens", network(request))
        if retry_after is not None:
            raise WrongTokenLimitReached("Too many wrong API tokens from your address.", retry_after=retry_after)

    def _hit(self, limit: RateLimitItem, *whom: str) -> int | None:
        """Count one more; where that is one too many, after how many seconds it is worth trying again."""
        if self._limiter.hit(limit, *whom):
            return None
        reset_at, _ = self._limiter.get_window_stats(limit, *whom)
        return max(1, math.ceil(reset_at - time.time()))


def _share(a_minute: int, web_processes: int) -> RateLimitItem:
    return RateLimitItemPerMinute(max(1, a_minute // web_processes))
