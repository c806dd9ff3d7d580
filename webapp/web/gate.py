"""Who may ask, and how often: what every API route passes before it does anything. Knows no shape of an answer."""

from flask import Request, Response, after_this_request, g

from webapp.web.auth import ApiTokens, Holder
from webapp.web.errors import ApiTokenForbidden, ApiTokenInvalid
from webapp.web.limits import WINDOW_SECONDS, RateLimits

# What only reads needs the scope `read`; everything else may start a generation, and needs `run`.
READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """The API tokens and the limits, for one request at a time."""

    def __init__(self, tokens: ApiTokens, limits: RateLimits) -> None:
        self._tokens = tokens
        self._limits = limits

    def admit(self, request: Request) -> None:
        """Let the request in whose API token allows it: its method by the scopes, its path by the account.

        Raises ApiTokenMissing, ApiTokenInvalid, ApiTokenForbidden, WrongTokenLimitReached and StorageBusy.
        """
        try:
            holder = self._tokens.authenticate(request)
        except ApiTokenInvalid:
            self._limits.count_wrong_token(request)
            raise
        scope = "read" if request.method in READING_METHODS else "run"
        if scope not in holder.scopes:
            raise ApiTokenForbidden(f"This API token has no scope '{scope}'.")
        # A path without an account is the token's own.
        account = (request.view_args or {}).get("account", holder.account)
        if holder.account is not None and account != holder.account:
            raise ApiTokenForbidden("This API token is for another account.")
        g.holder = holder

    @property
    def holder(self) -> str:
        """Who was let in: a name for the token's holder that tells nothing of the token."""
        return self._holder.name

    def count_generation(self, request: Request, *, count: int = 1) -> None:
        """All the generations that the request asks for are about to start. Raises RateLimitReached.

        Headers of the answer, whatever becomes of it, say what is left.
        """
        try:
            self._limits.count_generation(request, holder=self._holder, count=count)
        finally:
            if "quota" not in g:
                after_this_request(_add_rate_limit)
            g.quota = self._limits.generation_quota(request, holder=self._holder)

    @property
    def _holder(self) -> Holder:
        return g.holder


def _add_rate_limit(response: Response) -> Response:
    # As in draft-ietf-httpapi-ratelimit-headers-10; the figures are this web process's.
    if quota := g.quota:
        response.headers["RateLimit-Policy"] = f'"generations";q={quota.a_minute};w={WINDOW_SECONDS}'
        response.headers["RateLimit"] = f'"generations";r={quota.left};t={quota.more_after_seconds}'
    return response
