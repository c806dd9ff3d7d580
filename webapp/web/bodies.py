"""Bodies of requests: those that cannot be read, and those of refused requests, which are read to their end.

A client that is still sending when the connection closes sees a reset, and never the refusal.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import gevent
from flask import Response, request
from gunicorn.http.errors import ParseException

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Past this, a client that goes on sending has to see a reset.
MOST_DISCARDED_BYTES = 16 * 1024 * 1024
# For what is left of a refused body. Headers have a time limit of gunicorn's.
LONGEST_DISCARD_SECONDS = 2.0
_BLOCK_BYTES = 64 * 1024


class Body:
    """A request's body, which has `seconds` to arrive.

    Chunks that cannot be read, and what does not come in time, raise OSError, as a client that has gone does.
    """

    def __init__(self, stream: BinaryIO, seconds: float) -> None:
        self._stream = stream
        self._deadline = time.monotonic() + seconds

    def hurry(self) -> None:
        """Wait for the rest a moment longer only."""
        self._deadline = min(self._deadline, time.monotonic() + LONGEST_DISCARD_SECONDS)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; all without one."""
        try:
            # An ordinary error, inside gunicorn's reader: it closes the connection then, whose rest is no request.
            late = TimeoutError("the body does not come in time")
            with gevent.Timeout(max(0.001, self._deadline - time.monotonic()), late):
                return self._stream.read(size)
        except ParseException as error:
            # No kind that Flask's libraries know: it would be a fault of the server.
            raise OSError(str(error)) from error


def with_readable_bodies(app: "WSGIApplication", seconds: float) -> "WSGIApplication":
    """The same WSGI application, given each body as a Body that has so long to arrive."""

    def call(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ["wsgi.input"] = Body(environ["wsgi.input"], seconds)
        return app(environ, start_response)

    return call


def discard_refused_body(response: Response) -> Response:
    """Read and forget what is left of a refused request's body."""
    if response.status_code >= 400:
        body: Body = request.environ["wsgi.input"]
        body.hurry()
        discarded = 0
        # A body that breaks off has nothing more to read.
        with suppress(OSError):
            while discarded < MOST_DISCARDED_BYTES and (block := body.read(_BLOCK_BYTES)):
                discarded += len(block)
    return response
