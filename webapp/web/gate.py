"""Who may ask, and how often: what every API route passes before it does anything. Knows no shape of an answer."""

from flask import Request, g

from webapp.web.auth import ApiTokens
from webapp.web.errors import ApiTokenInvalid
from webapp.web.limits import RateLimits


class Gate:
    """The API tokens and the limits, for one request at a time."""

    def __init__(self, tokens: ApiTokens, limits: RateLimits) -> None:
        self._tokens = tokens
        self._limits = limits

    def admit(self, request: Request) -> None:
        """Let the request in whose API token allows it.

        Raises ApiTokenMissing, ApiTokenInvalid, ApiTokenForbidden, WrongTokenLimitReached and StorageBusy.
        """
        try:
            g.holder = self._tokens.authenticate(request)
        except ApiTokenInvalid:
            self._limits.count_wrong_token(request)
            raise

    @property
    def holder(self) -> str:
        """Who was let in: a name for the token's holder that tells nothing of the token."""
        return g.holder

    def count_generation(self, request: Request) -> None:
        """A generation is about to start. Raises RateLimitReached."""
        self._limits.count_generation(request, holder=self.holder)
