"""One HTTP answer, read as it comes: the status, the headers, and a body in chunks. Knows no server-sent events."""

import asyncio
from collections.abc import Callable


class AnswerBroken(Exception):
    """What came is no HTTP answer."""


class Answer(asyncio.Protocol):
    """Reads one answer on a connection of its own, and hands on each piece of its body.

    `on_head` is given the status and the headers, their names in lower case; `on_body` what a read brought. Only
    bodies in chunks are read. `is_whole` tells that the last chunk came; without it the body was cut off.
    """

    def __init__(self, on_head: Callable[[int, dict[str, str]], None], on_body: Callable[[bytes], None]) -> None:
        self.is_whole = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_head = on_head
        self._on_body = on_body
        self._buffer = bytearray()
        self._has_head = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            if self._has_head or self._read_head():
                self._read_chunks()
        except (ValueError, AnswerBroken) as error:
            self._end(AnswerBroken(f"{error}: {bytes(self._buffer[:200])!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(None)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        self._has_head = True
        self._on_head(status, headers)
        if headers.get("transfer-encoding") != "chunked":
            self.is_whole = True
            self._end(None)
            return False
        return True

    def _read_chunks(self) -> None:
        pieces: list[bytes] = []
        while not self.is_whole and (end := self._buffer.find(b"\r\n")) >= 0:
            size = int(self._buffer[:end], 16)
            if len(self._buffer) < end + 4 + size:
                break
            pieces.append(bytes(self._buffer[end + 2 : end + 2 + size]))
            del self._buffer[: end + 4 + size]
            self.is_whole = size == 0
        if body := b"".join(pieces):
            self._on_body(body)
        if self.is_whole:
            self._end(None)

    def _end(self, error: AnswerBroken | None) -> None:
        if self._transport:
            self._transport.close()
        if self.closed.done():
            return
        if error:
            self.closed.set_exception(error)
        else:
            self.closed.set_result(None)
