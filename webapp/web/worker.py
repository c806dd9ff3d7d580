"""gunicorn's gevent worker, with connections that send quickly and are not held open by a reader that reads nothing.

Imports nothing of the app: gunicorn's master loads it.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import gevent
from gevent import socket
from gunicorn.workers.ggevent import GeventWorker

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

# A reader that takes nothing for this long is closed; a browser comes back with its last event id.
SLOW_READER_SECONDS = 25.0
# The kernel would buffer megabytes for a reader that reads nothing; this much is enough for one that does.
SEND_BUFFER_BYTES = 64 * 1024


class QuickSocket(socket.socket):
    """A connection whose `sendall` is one system call where the kernel takes all of the data, as nearly always.

    gevent's own asks for the size of the kernel's buffer first and reads the clock, which with many streams takes a
    fifth of a web process's time.
    """

    def setblocking(self, flag: bool) -> None:
        """Wait for its peer, as gunicorn asks for, but not for ever."""
        self.settimeout(SLOW_READER_SECONDS if flag else 0.0)

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        """Send all of the data; where the kernel takes no more, wait at most the socket's time-out."""
        try:
            # gevent's own send would wait.
            sent = self._sock.send(data, flags)  # pyright: ignore[reportAttributeAccessIssue]
        except BlockingIOError:
            sent = 0
        if left := memoryview(data)[sent:]:
            super().sendall(left, flags)


class WebWorker(GeventWorker):
    """The web process."""

    def load_wsgi(self) -> None:
        """Load the app."""
        super().load_wsgi()
        app = cast("Flask", self.wsgi)
        # Flask's own way of adding a layer; its type says method.
        app.wsgi_app = with_calls_apart(app.wsgi_app)  # pyright: ignore[reportAttributeAccessIssue]

    def handle(
        self,
        listener: socket.socket,
        client: socket.socket,
        addr: Any,  # noqa: ANN401 - whatever the listener's family has for one
    ) -> None:
        """Serve one connection to its end."""
        quick = QuickSocket(client.family, client.type, client.proto, fileno=client.detach())
        quick.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        super().handle(listener, quick, addr)


def with_calls_apart(app: "WSGIApplication") -> "WSGIApplication":
    """The app, called in a greenlet of its own that ends when it has answered.

    For as long as a greenlet lives, Python keeps the stack that its deepest call took. The connection's greenlet
    lives as long as its stream, and only iterates over the answer: an eighth of the memory of an idle one is spared.
    """

    def call(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        calling = gevent.spawn(app, environ, start_response)
        try:
            return calling.get()
        finally:
            # It goes with its connection, also where that is killed.
            calling.kill(block=False)

    return call
