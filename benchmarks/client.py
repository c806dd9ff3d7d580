"""Reads many HTTP streams at once and notes when each byte came.

All else is worked out after the last one, so that reading takes next to nothing from the machine that is measured.
"""

import contextlib
import heapq
import selectors
import socket
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_READ_BYTES = 1 << 16


class StreamFailed(Exception):
    """A stream did not answer with 200, or did not end in time."""


@dataclass
class RawStream:
    """The bytes of one answer; `arrivals` has (bytes so far, moment) for each read."""

    request: bytes
    delay: float = 0.0
    started_at: float = 0.0
    body: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[int, float]] = field(default_factory=list)

    def moment(self, offset: int) -> float:
        """When the byte before `offset` was read."""
        return self.arrivals[bisect_left(self.arrivals, (offset, 0.0))][1]


def read_all(port: int, requests: Sequence[bytes], *, delays: Sequence[float] = (), timeout: float) -> list[RawStream]:
    """Send all requests at once, each after its delay if it has one, and read until every answer has ended."""
    streams = [RawStream(request) for request in requests]
    for stream, delay in zip(streams, delays, strict=False):
        stream.delay = delay
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in streams]
        begun_at = time.perf_counter()
        waiting = [(begun_at + stream.delay, index) for index, stream in enumerate(streams)]
        heapq.heapify(waiting)
        while waiting or selector.get_map():
            now = time.perf_counter()
            if now - begun_at > timeout:
                raise StreamFailed(f"{len(selector.get_map())} streams had not ended after {timeout:.0f} s")
            while waiting and waiting[0][0] <= now:
                _, index = heapq.heappop(waiting)
                _send(sockets[index], streams[index])
                selector.register(sockets[index], selectors.EVENT_READ, streams[index])
            next_send = waiting[0][0] - now if waiting else 1.0
            for key, _ in selector.select(min(next_send, 1.0)):
                if not _read(key.fileobj, key.data):
                    selector.unregister(key.fileobj)
    return streams


def _send(connection: socket.socket, stream: RawStream) -> None:
    stream.started_at = time.perf_counter()
    connection.sendall(stream.request)


def _read(connection: object, stream: RawStream) -> bool:
    """Whether there may be more."""
    assert isinstance(connection, socket.socket)
    data = connection.recv(_READ_BYTES)
    if data:
        stream.body += data
        stream.arrivals.append((len(stream.body), time.perf_counter()))
    return bool(data)


def request(port: int, path: str, body: bytes, *, headers: dict[str, str] | None = None) -> bytes:
    """A POST that asks the server to close the connection at the end of its answer."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def events(stream: RawStream) -> Iterator[tuple[float, bytes]]:
    """The `data:` of each server-sent event, and when its last byte was read. Raises StreamFailed where it failed."""
    head, found, _ = bytes(stream.body).partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if not found or status != [b"200"]:
        raise StreamFailed(bytes(stream.body[:600]).decode("utf-8", "replace") or "no answer")
    is_chunked = b"transfer-encoding: chunked" in head.lower()
    pieces = _chunks(stream, len(head) + 4) if is_chunked else _reads(stream, len(head) + 4)
    line = b""
    for moment, piece in pieces:
        *lines, line = (line + piece).split(b"\n")
        for done in lines:
            if done.startswith(b"data:"):
                yield moment, done[5:].strip()


def _chunks(stream: RawStream, at: int) -> Iterator[tuple[float, bytes]]:
    """The payload of each chunk of a chunked body."""
    body = stream.body
    while (end := body.find(b"\r\n", at)) >= 0:
        size = int(body[at:end].split(b";")[0], 16)
        if size == 0:
            return
        start = end + 2
        if start + size > len(body):
            raise StreamFailed("the answer broke off")
        yield stream.moment(start + size), bytes(body[start : start + size])
        at = start + size + 2


def _reads(stream: RawStream, at: int) -> Iterator[tuple[float, bytes]]:
    """What each read brought, of a body that ends with the connection."""
    for length, moment in stream.arrivals:
        if length > at:
            yield moment, bytes(stream.body[at:length])
            at = length
