"""A client of event streams, by WHATWG HTML 9.2.6: fed with bytes as they come, cut wherever they are."""

import codecs
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSentEvent:
    kind: str
    data: str
    last_event_id: str


class EventDecoder:
    """Holds the part of a line, and the part of an event, that has come so far."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._is_first = True
        self._has_carriage_return = False
        self._data: list[str] = []
        self._kind = ""
        self._last_event_id = ""

    def feed(self, block: bytes) -> Iterator[ServerSentEvent]:
        """The events that are whole with these bytes."""
        for character in self._utf8.decode(block):
            if self._is_first:
                self._is_first = False
                if character == "\ufeff":
                    continue
            if character == "\n" and self._has_carriage_return:
                self._has_carriage_return = False
                continue
            self._has_carriage_return = character == "\r"
            if character not in "\r\n":
                self._line += character
                continue
            line, self._line = self._line, ""
            if line:
                self._take(line)
            elif event := self._dispatched():
                yield event

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._kind = value
            case "id" if "\0" not in value:
                self._last_event_id = value

    def _dispatched(self) -> ServerSentEvent | None:
        data, kind = self._data, self._kind
        self._data, self._kind = [], ""
        return ServerSentEvent(kind or "message", "\n".join(data), self._last_event_id) if data else None


def cut(data: bytes, numbers: random.Random, *, most: int = 7) -> Iterable[bytes]:
    """The bytes in small pieces, most of which begin or end in the middle of something."""
    at = 0
    while at < len(data):
        size = numbers.randint(1, most)
        yield data[at : at + size]
        at += size
