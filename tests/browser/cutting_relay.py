"""A relay before a server that cuts what it answers into small pieces, most of them in the middle of a character."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.harness import Server
from tests.security.event_source import cut


@contextmanager
def cutting_relay(server: Server, seed: int) -> Iterator[str]:
    """The address of a relay to the server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, server.port, random.Random(seed)), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket, port: int, numbers: random.Random) -> None:
    # Ends when the listener is closed.
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upstream = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=_copy, args=(client, upstream, None), daemon=True).start()
            threading.Thread(target=_copy, args=(upstream, client, numbers), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket, numbers: random.Random | None) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            for piece in cut(block, numbers, most=20) if numbers else [block]:
                target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
