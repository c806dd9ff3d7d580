"""Bytes of an event stream to its events, by WHATWG HTML, section 9.2.6."""

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventParser:
    """The lines of one answer to events; what is not whole at its end is dropped with it."""

    def __init__(self, last_event_id: str) -> None:
        self.last_event_id = last_event_id
        self.retry_seconds: float | None = None
        self._id_buffer = last_event_id
        self._name = ""
        self._data: list[str] = []
        self._rest = b""
        self._has_cr_at_end = False

    def push(self, data: bytes) -> list[tuple[str, str, str]]:
        """The events that are complete now, each as its name, its data and the last event id."""
        if self._has_cr_at_end:
            # The CR LF of one line end.
            data = data.removeprefix(b"\n")
        self._has_cr_at_end = data.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(self._rest + data)
        return [event for line in lines if (event := self._take_line(line.decode("utf-8", "replace")))]

    def _take_line(self, line: str) -> tuple[str, str, str] | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id_buffer = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_seconds = int(value) / 1000
            case _:
                pass
        return None

    def _dispatch(self) -> tuple[str, str, str] | None:
        self.last_event_id = self._id_buffer
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return (name, "\n".join(data), self.last_event_id) if data else None
