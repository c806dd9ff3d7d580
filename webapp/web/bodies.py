"""Bodies of refused requests: read to their end all the same, so that the client reads the refusal."""

from contextlib import suppress

from flask import Response, request

# A client that is still sending when the connection closes sees a reset and no answer; past this it has to.
MOST_DISCARDED_BYTES = 16 * 1024 * 1024
_BLOCK_BYTES = 64 * 1024


def discard_refused_body(response: Response) -> Response:
    """Read and forget what is left of a refused request's body."""
    if response.status_code >= 400:
        body = request.environ["wsgi.input"]
        discarded = 0
        # A body that breaks off has nothing more to read.
        with suppress(OSError):
            while discarded < MOST_DISCARDED_BYTES and (block := body.read(_BLOCK_BYTES)):
                discarded += len(block)
    return response
