"""By which name a request calls this server: HTTP/1.1 has to say one, and a local server answers to local ones only.

A page of another site can have its own name lead to 127.0.0.1 (DNS rebinding). The browser then lets it read what
this server answers, with the rights of somebody on this machine; only the name it calls tells it apart.

One exception: a Worker on this machine may be wired straight to Jeton, and its binding calls Cloudflare's names.
The paths it calls answer to these names too. They need an API token, which no page has, and nobody is taken for this
machine's owner there; and a page that could be read by these names would have to be Cloudflare's.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import request
from werkzeug.exceptions import BadRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Few digits for the port: a library reads them as a number, whatever their length.
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._-]+)(:[0-9]{1,5})?")
# Where the Worker binding's requests go, and by which names.
MODELS_PATH = "/ai-api/models/search"
BINDING_PATHS = ("/run", "/ai-gateway/run", MODELS_PATH)
_BINDING_NAMES = ("workers-binding.ai", "ai.cloudflare.com")

_PROBLEM = "jeton.host_problem"
_NOT_LOCAL = (
    "This Jeton answers to localhost only. To call it by another name set HOST, or JETON_PROXIES where a proxy "
    "stands before it (docs/settings.md)."
)


def is_local_name(host: str) -> bool:
    """Whether a host, with or without a port, can only mean the machine on which it is said."""
    found = _HOST.fullmatch(host)
    name = found[1].strip("[]").lower() if found else ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def with_checked_host(app: "WSGIApplication", *, is_local_only: bool) -> "WSGIApplication":
    """The same WSGI application, which no library's reading of a bad Host header can break; see refuse_bad_host."""

    def call(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        problem = _problem(environ, is_local_only=is_local_only)
        if problem:
            environ.pop("HTTP_HOST", None)
            environ[_PROBLEM] = problem
        return app(environ, start_response)

    return call


def refuse_bad_host() -> None:
    """Refuse the present request where its Host header cannot be taken. Raises BadRequest."""
    if problem := request.environ.get(_PROBLEM):
        raise BadRequest(problem)


def _is_host(host: str) -> bool:
    found = _HOST.fullmatch(host)
    try:
        # Who writes an address of this server reads the name both ways: no part of it may be too long, or be none.
        return found is not None and bool(found[1].encode("idna").decode("idna"))
    except UnicodeError:
        return False


def _problem(environ: "WSGIEnvironment", *, is_local_only: bool) -> str | None:
    host = environ.get("HTTP_HOST")
    if host is None:
        return None if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else "The Host header is missing."
    if not _is_host(host):
        return "The Host header is not a name with or without a port."
    if not is_local_only or is_local_name(host):
        return None
    is_binding = host.lower() in _BINDING_NAMES and environ.get("PATH_INFO") in BINDING_PATHS
    return None if is_binding else _NOT_LOCAL
