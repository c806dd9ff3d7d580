"""gunicorn's gevent worker, with connections that send quickly.

Imports nothing of the app: gunicorn's master loads it.
"""

from typing import TYPE_CHECKING, Any

from gevent import socket
from gunicorn.workers.ggevent import GeventWorker

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class QuickSocket(socket.socket):
    """A connection whose `sendall` is one system call where the kernel takes all of the data, as nearly always.

    gevent's own asks for the size of the kernel's buffer first and reads the clock, which with many streams takes a
    fifth of a web process's time.
    """

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        """Send all of the data; where the kernel takes no more, wait at most the socket's time-out."""
        left = memoryview(data)[self.send(data, flags) :]
        if left:
            super().sendall(left, flags)


class WebWorker(GeventWorker):
    """The web process."""

    def handle(self, listener: socket.socket, client: socket.socket, addr: Any) -> None:  # noqa: ANN401
        """Serve one connection to its end."""
        quick = QuickSocket(client.family, client.type, client.proto, fileno=client.detach())
        super().handle(listener, quick, addr)
