"""The signed cookie that names a browser. Its signature counts, its age does not.

Flask's own also refuses a cookie that is older than a month or was signed in the future, so that a clock set back by
a second would take a browser's generations away from it.
"""

import secrets

from flask import Flask, Request, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import BadSignature


class SessionInterface(SecureCookieSessionInterface):
    """Flask's signed cookie, whatever the clock says; marked Secure where the request came by https."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        serializer = self.get_signing_serializer(app)
        value = request.cookies.get(self.get_cookie_name(app))
        if serializer is None or not value:
            return super().open_session(app, request)
        try:
            return self.session_class(serializer.loads(value))
        except BadSignature:
            return self.session_class()

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


def owner() -> str:
    """A name for this browser that only its signed cookie knows: who may read and stop its generations."""
    return session.setdefault("owner", secrets.token_urlsafe(16))
