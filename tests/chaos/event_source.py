"""An event source by the rules of WHATWG HTML, section 9.2, and what its reader has seen. Knows no sockets.

A connection that ends or breaks is opened again after the `retry` time, with the last event id. 204 stops it, and
any other status but 200 closes it for good.
"""

import time
from array import array
from dataclasses import dataclass, field

import msgspec

from tests.chaos.event_parser import EventParser

# Chromium's, until the server names another.
DEFAULT_RETRY_SECONDS = 3.0


@dataclass
class Seen:
    """The events of one stream as its reader has seen them. Text and end are to be numbered 1, 2, 3, …

    `gaps` are the seconds between two numbered events; `ends` counts the end marks.
    """

    texts: list[str] = field(default_factory=list)
    last_id: int = 0
    ends: int = 0
    doubled: int = 0
    skipped: int = 0
    has_gone: bool = False
    error_code: str | None = None
    usage: dict | None = None
    gaps: array = field(default_factory=lambda: array("f"))
    last_at: float | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def take(self, name: str, data: str, event_id: str, now: float) -> None:
        """Note one event."""
        match name:
            case "message":
                self._take_numbered(data, int(event_id or 0), now)
            case "error":
                self.error_code = msgspec.json.decode(data)["code"]
            case "usage":
                self.usage = msgspec.json.decode(data)
            case "gone":
                self.has_gone = True
            case _:
                pass

    def _take_numbered(self, data: str, event_id: int, now: float) -> None:
        if self.last_at is not None:
            self.gaps.append(now - self.last_at)
        self.last_at = now
        self.doubled += event_id <= self.last_id
        self.skipped += max(0, event_id - self.last_id - 1)
        self.last_id = event_id
        if data == "[DONE]":
            self.ends += 1
        else:
            self.texts.append(msgspec.json.decode(data)["response"])


@dataclass
class EventSource:
    """One event source: its address, where it stands, and what was seen.

    `answers` counts those that were read, and `cut_offs` those that broke off instead of ending with their last chunk.
    """

    path: str
    cookie: str
    seen: Seen = field(default_factory=Seen)
    retry_seconds: float = DEFAULT_RETRY_SECONDS
    is_closed: bool = False
    # The status that closed it, 204 included.
    closing_status: int | None = None
    answers: int = 0
    cut_offs: int = 0
    # Why its connections ended that did not end as they should.
    notes: list[str] = field(default_factory=list)
    _last_event_id: str = ""
    # None while no answer is read.
    _parser: EventParser | None = None

    @property
    def reconnects(self) -> int:
        """How often it was opened again."""
        return max(0, self.answers - 1)

    def request(self, port: int) -> bytes:
        """What a connection that is opened now sends."""
        lines = [
            f"GET {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Accept: text/event-stream",
            "Cache-Control: no-cache",
            f"Cookie: {self.cookie}",
            *([f"Last-Event-ID: {self._last_event_id}"] if self._last_event_id else []),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def take_head(self, status: int, headers: dict[str, str]) -> None:
        """The answer's status and headers: whether it is read, and whether the source is closed for good."""
        is_events = headers.get("content-type", "").partition(";")[0].strip() == "text/event-stream"
        if status == 200 and is_events:
            self._parser = EventParser(self._last_event_id)
            self.answers += 1
            return
        self.is_closed, self.closing_status = True, status

    def take_body(self, data: bytes) -> None:
        """What a read has brought."""
        assert self._parser
        now = time.monotonic()
        for name, text, event_id in self._parser.push(data):
            self.seen.take(name, text, event_id, now)
        self._last_event_id = self._parser.last_event_id
        if self._parser.retry_seconds is not None:
            self.retry_seconds = self._parser.retry_seconds
        if self.seen.has_gone:
            # What the page does then: it asks no more.
            self.is_closed = True

    def take_end(self, *, is_whole: bool) -> None:
        """The connection has ended, or could not be made."""
        self.cut_offs += self._parser is not None and not is_whole
        self._parser = None
