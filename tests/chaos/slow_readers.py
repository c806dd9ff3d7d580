"""Readers that open a stream and read nothing of it, and what the kernel knows of their connections."""

import asyncio
import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.http_body import Answer
from tests.chaos.readers import Readers

# The least that Linux gives: what waits for the reader waits in the server.
RECEIVE_BUFFER_BYTES = 4096
# A send queue that has not changed for so long is full.
STILL_SECONDS = 1.0
_TCP_TABLE = Path("/proc/net/tcp")
_ESTABLISHED = 1


class SlowReaders(Readers):
    """They read nothing until `resume`, and then as others do."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._held: list[asyncio.Transport] = []
        self._has_resumed = False

    @property
    def ports(self) -> list[int]:
        """The ports of the connections on which nothing is read."""
        return [transport.get_extra_info("sockname")[1] for transport in list(self._held)]

    def resume(self) -> None:
        """Read from now on."""
        self._loop.call_soon_threadsafe(self._resume)

    def _resume(self) -> None:
        self._has_resumed = True
        for transport in self._held:
            transport.resume_reading()
        self._held.clear()

    async def _connect(self, make_answer: Callable[[], Answer]) -> tuple[asyncio.Transport, Answer]:
        if self._has_resumed:
            return await super()._connect(make_answer)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        connection.setblocking(False)
        await self._loop.sock_connect(connection, ("127.0.0.1", self._port))
        transport, answer = await self._loop.create_connection(make_answer, sock=connection)
        transport.pause_reading()
        self._held.append(transport)
        return transport, answer


@dataclass
class Held:
    """A connection on which nothing is read, as the server's kernel sees it. Moments are monotonic seconds."""

    queued_bytes: int = 0
    changed_at: float = 0.0
    full_at: float | None = None
    closed_at: float | None = None

    @property
    def seconds_until_closed(self) -> float:
        """How long it was open with a full send queue; endless where it still is."""
        return math.inf if self.closed_at is None else self.closed_at - (self.full_at or self.closed_at)

    def note(self, queued_bytes: int | None, now: float) -> None:
        """Its send queue at this moment; None where the server has closed it."""
        if queued_bytes is None:
            self.closed_at = self.closed_at or now
        elif queued_bytes != self.queued_bytes or not queued_bytes:
            self.queued_bytes, self.changed_at, self.full_at = queued_bytes, now, None
        elif self.full_at is None and now - self.changed_at > STILL_SECONDS:
            self.full_at = self.changed_at


def watch(held: dict[int, Held], server_port: int) -> None:
    """Note how each of these connections stands now; by the reader's port."""
    queues = _send_queues(server_port)
    now = time.monotonic()
    for port, connection in held.items():
        connection.note(queues.get(port), now)


def _send_queues(server_port: int) -> dict[int, int]:
    """The bytes that wait on the server's open connections, by the port of the other end: proc(5), /proc/net/tcp."""
    queues: dict[int, int] = {}
    for line in _TCP_TABLE.read_text("ascii").splitlines()[1:]:
        _, local, remote, state, queued, *_ = line.split()
        if int(local.rpartition(":")[2], 16) == server_port and int(state, 16) == _ESTABLISHED:
            queues[int(remote.rpartition(":")[2], 16)] = int(queued.partition(":")[0], 16)
    return queues
