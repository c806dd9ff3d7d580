"""The switch of the languages in every page's bar: keeps the choice in a cookie. Works without JavaScript."""

from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import Blueprint, Response, redirect, request

from webapp.web.errors import InvalidFields
from webapp.web.languages import LANGUAGE_COOKIE, LANGUAGES
from webapp.web.refusals import refuse

# As long as browsers keep any.
_COOKIE_SECONDS = 400 * 24 * 3600


def blueprint() -> Blueprint:
    """The route of the switch, and `here` for its form: where it comes back to."""
    routes = Blueprint("language", __name__)
    routes.app_template_global("here")(_here)

    @routes.post("/language")
    def choose() -> Response:
        language = request.form.get("language", "")
        if language not in LANGUAGES:
            return refuse(InvalidFields({"language": f"must be {' or '.join(LANGUAGES)}"}))
        response = redirect(_own_path(request.form.get("back", "")), 303)
        response.set_cookie(
            LANGUAGE_COOKIE,
            language,
            max_age=_COOKIE_SECONDS,
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )
        # redirect's own type is that of the framework beneath.
        return response  # pyright: ignore[reportReturnType]

    return routes


def _here() -> str:
    # The answer to a form cannot be asked for again.
    return request.full_path if request.method in ("GET", "HEAD") else "/"


def _own_path(text: str) -> str:
    """The page of this site that `text` names, without a language of its own; else the first one."""
    # Browsers read a backslash as a slash, and leave out tabs and line ends; two slashes begin a host.
    if not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return "/"
    address = urlsplit(text)
    query = urlencode([pair for pair in parse_qsl(address.query, keep_blank_values=True) if pair[0] != "lang"])
    return f"{address.path}?{query}" if query else address.path
