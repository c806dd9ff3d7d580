"""Server-sent events: frames, the response that carries them, and noticing that its reader has left.

The format: WHATWG HTML, section 9.2. Knows no dialect; data is always JSON or a fixed word, so no text can
break out of its frame.
"""

import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
from flask import Response, request
from gevent import get_hub
from gevent.monkey import get_original

from webapp.web.errors import InvalidFields, ReaderLeft
from webapp.web.subscription import Item, Subscription, Watcher, is_end

log = logging.getLogger(__name__)

# Silence longer than this looks dead to a reader, and to the proxies on the way.
KEEP_ALIVE_SECONDS = 10.0
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
# Far more than any generation has events, and few enough digits to read safely.
LONGEST_EVENT_ID = 12

# What libev calls it: an io watcher's event.
_READABLE = 1

_encode = msgspec.json.Encoder().encode


class Leaving(Protocol):
    """What a stream reads from, and can be told that nobody reads it any longer."""

    def leave(self) -> None:
        """The reader has gone."""
        ...

    def be_watched(self, watcher: Watcher) -> None:
        """What calls `leave`; to be closed with the stream."""
        ...


def data_frame(payload: object, *, event: str | None = None, event_id: int | None = None) -> bytes:
    """One frame whose data is JSON on one line."""
    head = b"" if event_id is None else b"id: %d\n" % event_id
    if event is not None:
        head += b"event: %b\n" % event.encode()
    return b"%bdata: %b\n\n" % (head, _encode(payload))


def retry_frame(milliseconds: int) -> bytes:
    """How long a browser waits before it reconnects."""
    return b"retry: %d\n\n" % milliseconds


def read_last_event_id() -> int:
    """The event id after which the reader wants to go on: the header, else `?after=`, else 0. Raises InvalidFields.

    The header comes first: a browser that reconnects sends it along with the address it began with.
    """
    texts = [text for text in (request.headers.get("Last-Event-ID"), request.args.get("after")) if text]
    if not all(text.isascii() and text.isdigit() and len(text) <= LONGEST_EVENT_ID for text in texts):
        raise InvalidFields({"Last-Event-ID": "must be the id of an event, a whole number"})
    return int(texts[0]) if texts else 0


def stream(
    subscription: Subscription, write: Callable[[Item], bytes], *, items: Sequence[Item] = (), opening: bytes = b""
) -> Response:
    """A response that writes every item of the subscription, to its end. What waits goes out as one chunk.

    It begins with the frames in `opening` and with `items`, which were taken before.
    """
    response = event_stream(_chunks(subscription, write, items, opening))
    # Also where the generator was never started, as for HEAD.
    response.call_on_close(subscription.close)
    return response


def event_stream(chunks: Iterable[bytes]) -> Response:
    """A response of frames, with the headers that keep proxies from holding them back."""
    response = Response(chunks, content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def watch_reader(reading: Leaving) -> None:
    """Tell the stream that its reader has left as soon as the client closes its connection.

    Without it only the next failing write tells. Call it when the request's body has been read.
    """
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        return
    descriptor = connection.fileno()
    # Not a greenlet that waits, which takes as much memory as all the rest of an idle connection.
    watcher = get_hub().loop.io(descriptor, _READABLE)

    def notice() -> None:
        watcher.stop()
        if _is_closed(descriptor):
            reading.leave()

    watcher.start(notice)
    reading.be_watched(watcher)


def _chunks(
    subscription: Subscription, write: Callable[[Item], bytes], items: Sequence[Item], opening: bytes
) -> Iterator[bytes]:
    if first := opening + b"".join(map(write, items)):
        yield first
    with suppress(ReaderLeft):
        while not (items and is_end(items[-1])):
            items = subscription.take(KEEP_ALIVE_SECONDS)
            yield b"".join(map(write, items)) if items else KEEP_ALIVE


def _is_closed(descriptor: int) -> bool:
    try:
        # Not gevent's socket, whose recv would wait, and keep the connection's own reader from waiting.
        peeker = get_original("socket", "socket")(fileno=descriptor)
    except OSError:
        return True
    try:
        # Data is the start of a next request, which nobody may take away here.
        return not peeker.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        peeker.detach()
