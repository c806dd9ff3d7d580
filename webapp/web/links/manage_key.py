"""The manage key: a browser's secret that revokes and extends the links it has made. Knows no database and no page.

One for each browser, in a cookie that no script can read. It is given at the browser's first link, and lasts as long
as browsers let a cookie last; another browser can take it over.
"""

import re
import secrets

from flask import Response, request

COOKIE = "jeton_manage_key"
# 256 bits: nobody finds one by trying.
_RANDOM_BYTES = 32
_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
# Browsers keep no cookie longer than 400 days (RFC 6265bis, section 5.5).
_MOST_SECONDS = 400 * 24 * 3600


def is_manage_key(text: str) -> bool:
    """Whether it looks like one."""
    return _KEY.fullmatch(text) is not None


def manage_key() -> str | None:
    """The manage key of the browser that asks; None where it has none yet."""
    key = request.cookies.get(COOKIE, "")
    return key if is_manage_key(key) else None


def new_manage_key() -> str:
    """A key that no browser has yet: for the first link of one without."""
    return secrets.token_urlsafe(_RANDOM_BYTES)


def keep_manage_key(response: Response, key: str) -> None:
    """Let the browser that gets this response keep the key, for as long again."""
    response.set_cookie(
        COOKIE, key, max_age=_MOST_SECONDS, secure=request.is_secure, httponly=True, samesite="Lax", path="/"
    )


def forget_manage_key(response: Response) -> None:
    """Let the browser that gets this response forget its key; the links stay."""
    response.delete_cookie(COOKIE, secure=request.is_secure, httponly=True, samesite="Lax", path="/")
