"""Forms of this site only: Flask-WTF's tokens, and what browsers say of where a form stands. Knows no route."""

from urllib.parse import urlsplit

from flask import g, request
from flask_wtf.csrf import CSRFError, CSRFProtect


class CsrfProtection(CSRFProtect):
    """A request that changes something needs a token, and no page of another site may have sent it.

    Over https Flask-WTF itself also wants a Referer (WTF_CSRF_SSL_STRICT). The pages of shared links send none to
    anybody: here one that is missing says nothing, and one of another site refuses.
    """

    def protect(self, apply_exemptions: bool = False) -> None:
        """Raises CSRFError."""
        super().protect(apply_exemptions)
        # Flask-WTF's own word for a token that was needed, and is right.
        if g.get("csrf_valid") and _is_from_elsewhere():
            raise CSRFError("The form stands on a page of another site.")


def _is_from_elsewhere() -> bool:
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        return True
    referrer = request.headers.get("Referer")
    if not (referrer and request.is_secure):
        return False
    try:
        return urlsplit(referrer)[:2] != ("https", request.host)
    except ValueError:
        return True
