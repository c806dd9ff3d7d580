"""Frames against an independent parser, and the stream that carries them: whatever the text, it arrives to the byte."""

import socket
from collections.abc import Iterator

import gevent
import gevent.socket
import msgspec
import pytest
from flask import Flask, Response
from hypothesis import example, given
from hypothesis import strategies as st

from webapp.web.errors import InvalidFields, ReaderLeft
from webapp.web.playground_frames import frames
from webapp.web.sse import (
    DONE,
    KEEP_ALIVE,
    data_frame,
    is_end,
    read_last_event_id,
    retry_frame,
    stream,
    watch_reader,
)
from webapp.web.subscription import Watcher
from webapp.wire.generation import Delta, Failed, Finished, Loading, Queued, Started, Timings, Usage
from webapp.wire.messages import Gone, Published

HOSTILE = [
    "\r",
    "\n",
    "\r\n",
    "\n\n",
    "id: 9",
    "\nid: 9\n",
    "data: x",
    "\u2028",
    "\u2029",
    "\0",
    "\ufeff",
    "</script>",
    "",
    " ",
    "🪙",
    "retry: 1",
    ":",
]
hostile_text = st.lists(st.sampled_from(HOSTILE) | st.text(st.characters(codec="utf-8"), max_size=5)).map("".join)


def parsed(stream: bytes) -> list[tuple[str, str, str]]:
    """Event type, data and last event id of each event, by the rules of WHATWG HTML 9.2.6, written from its text."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events: list[tuple[str, str, str]] = []
    data, kind, last_id = "", "", ""
    # What follows the last line end is an incomplete line, and is discarded.
    for line in lines[:-1]:
        if line == "":
            if data != "":
                events.append((kind or "message", data.removesuffix("\n"), last_id))
            data, kind = "", ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            last_id = value
    return events


def test_the_tests_parser_follows_the_examples_of_the_standard() -> None:
    assert parsed(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [("message", "YHOO\n+2\n10", "")]
    assert parsed(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n") == [
        ("message", "first event", "1"),
        ("message", "second event", ""),
    ]
    assert parsed(b"data:test\r\rdata: test\r\n\r\n") == [("message", "test", ""), ("message", "test", "")]


# --- frames ---


@given(texts=st.lists(hostile_text, max_size=8))
@example(texts=HOSTILE)
def test_any_text_arrives_to_the_byte_and_makes_no_foreign_event(texts: list[str]) -> None:
    written = b"".join(data_frame({"response": text}, event_id=number) for number, text in enumerate(texts, start=1))

    events = parsed(written)

    assert [(kind, event_id) for kind, _, event_id in events] == [
        ("message", str(number)) for number in range(1, len(texts) + 1)
    ]
    assert [msgspec.json.decode(data)["response"] for _, data, _ in events] == texts


@given(text=hostile_text)
def test_frame_is_one_line_of_each_field_and_one_blank_line(text: str) -> None:
    frame = data_frame({"response": text}, event="status", event_id=3)

    lines = frame.split(b"\n")
    assert [line.partition(b":")[0] for line in lines] == [b"id", b"event", b"data", b"", b""]
    assert b"\r" not in frame


def test_id_and_data_are_in_one_frame_in_this_order() -> None:
    assert data_frame({"a": 1}, event_id=7) == b'id: 7\ndata: {"a":1}\n\n'


def test_what_is_between_events_is_no_event() -> None:
    assert parsed(KEEP_ALIVE + retry_frame(300)) == []
    assert parsed(DONE) == [("message", "[DONE]", "")]


# --- the playground's frames ---

USAGE = Usage(3, 2)


def published(event: object, event_id: int = 0) -> Published:
    return Published("g", event_id, event)


def test_playground_numbers_text_and_end_and_nothing_else() -> None:
    items = [
        published(Queued(2)),
        published(Loading(0.5)),
        published(Started(3, "cpu", "bf16")),
        published(Delta(0, "New", (1,)), 1),
        published(Delta(1, " York", (2,)), 2),
        published(Finished("stop", USAGE, Timings(0.1, 0.5, 1.0)), 3),
    ]

    events = parsed(b"".join(map(frames, items)))

    assert [(kind, event_id) for kind, _, event_id in events] == [
        ("status", ""),
        ("status", ""),
        ("status", ""),
        ("message", "1"),
        ("message", "2"),
        ("usage", "2"),
        ("message", "3"),
    ]
    assert events[-1][1] == "[DONE]"
    assert msgspec.json.decode(events[-2][1]) == {
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "time_to_first_token": 0.5,
        "tokens_per_second": 1.0,
        "seconds": 1.5,
    }


def test_failure_is_an_error_event_and_then_the_end() -> None:
    events = parsed(frames(published(Failed("EngineLost", "why\n\nid: 5"), 4)))

    assert [(kind, event_id) for kind, _, event_id in events] == [("error", ""), ("message", "4")]
    assert msgspec.json.decode(events[0][1]) == {"code": "EngineLost", "message": "why\n\nid: 5"}


def test_lost_generation_is_a_gone_event() -> None:
    assert [kind for kind, _, _ in parsed(frames(Gone(ask=1)))] == ["gone"]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (published(Delta(0, "a", ()), 1), False),
        (published(Started(1, "", "")), False),
        (published(Finished("stop", USAGE), 2), True),
        (published(Failed("x", ""), 2), True),
        (Gone(ask=1), True),
    ],
    ids=repr,
)
def test_only_finished_failed_and_gone_are_the_end(item: Published | Gone, *, expected: bool) -> None:
    assert is_end(item) is expected


# --- the response ---


class Script:
    """A subscription whose takes are given: lists of items, or an error to raise."""

    def __init__(self, *takes: list[Published | Gone] | Exception) -> None:
        self._takes = list(takes)
        self.is_closed = False
        self.has_reader_left = False
        self.watcher: Watcher | None = None

    def be_watched(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def take(self, timeout: float) -> list[Published | Gone]:
        taken = self._takes.pop(0)
        if isinstance(taken, Exception):
            raise taken
        return taken

    def leave(self) -> None:
        self.has_reader_left = True

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def in_request() -> Iterator[None]:
    with Flask(__name__).test_request_context("/"):
        yield


TEXT = [published(Delta(0, "a", (1,)), 1), published(Delta(1, "b", (2,)), 2)]
END = published(Finished("stop", USAGE), 3)


def chunks(response: Response) -> list[bytes]:
    return list(response.response)


@pytest.mark.usefixtures("in_request")
def test_what_waits_goes_out_as_one_chunk() -> None:
    response = stream(Script([*TEXT], [END]), frames)

    assert chunks(response) == [b"".join(map(frames, TEXT)), frames(END)]


@pytest.mark.usefixtures("in_request")
def test_silence_is_filled_with_keep_alives() -> None:
    assert chunks(stream(Script([], [], [END]), frames)) == [KEEP_ALIVE, KEEP_ALIVE, frames(END)]


@pytest.mark.usefixtures("in_request")
def test_opening_and_items_taken_before_go_out_at_once() -> None:
    response = stream(Script([END]), frames, items=TEXT, opening=retry_frame(300))

    assert chunks(response)[0] == retry_frame(300) + b"".join(map(frames, TEXT))


@pytest.mark.usefixtures("in_request")
def test_stream_whose_end_was_taken_before_ends_at_once() -> None:
    # A short generation can be over before its first bytes are written.
    assert chunks(stream(Script(), frames, items=[*TEXT, END])) == [b"".join(map(frames, [*TEXT, END]))]


@pytest.mark.usefixtures("in_request")
def test_stream_of_a_reader_who_has_left_just_ends() -> None:
    assert chunks(stream(Script([*TEXT], ReaderLeft("gone")), frames)) == [b"".join(map(frames, TEXT))]


@pytest.mark.usefixtures("in_request")
def test_stream_that_nobody_reads_is_closed_all_the_same() -> None:
    subscription = Script()

    stream(subscription, frames).close()

    assert subscription.is_closed


@pytest.mark.usefixtures("in_request")
def test_stream_is_plain_event_stream_that_no_proxy_changes_or_holds_back() -> None:
    response = stream(Script(), frames)

    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"


# --- last event ids ---


@pytest.mark.parametrize(
    ("path", "header", "expected"),
    [
        ("/", None, 0),
        ("/", "0", 0),
        ("/", "17", 17),
        ("/?after=5", None, 5),
        ("/?after=5", "17", 17),
        ("/?after=5", "", 5),
        ("/?after=", None, 0),
        ("/", "999999999999", 999_999_999_999),
    ],
)
def test_last_event_id_is_the_header_else_the_address(path: str, header: str | None, expected: int) -> None:
    headers = {} if header is None else {"Last-Event-ID": header}

    with Flask(__name__).test_request_context(path, headers=headers):
        assert read_last_event_id() == expected


@given(text=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), min_size=1))
@example(text="-1")
@example(text="1.0")
@example(text="²")
@example(text="1" * 13)
@example(text="1" * 5000)
@example(text=" 1")
def test_last_event_id_is_a_number_or_a_field_that_is_named(text: str) -> None:
    with Flask(__name__).test_request_context("/", headers={"Last-Event-ID": text}):
        try:
            event_id = read_last_event_id()
        except InvalidFields as error:
            assert list(error.fields) == ["Last-Event-ID"]
        else:
            assert event_id == int(text) and text.isascii() and text.isdigit()


# --- readers who leave ---


@pytest.mark.parametrize(("sent", "has_left"), [(None, True), (b"GET / HTTP/1.1\r\n", False)], ids=["closes", "sends"])
def test_reader_who_closes_is_noticed_and_one_who_sends_is_not_taken_for_gone(
    sent: bytes | None, *, has_left: bool
) -> None:
    server, client = socket.socketpair()
    server.setblocking(False)
    subscription = Script()
    with Flask(__name__).test_request_context("/", environ_overrides={"gunicorn.socket": server}):
        watch_reader(subscription)
    gevent.sleep(0)

    if sent:
        client.send(sent)
    else:
        client.close()
    gevent.sleep(0.01)

    assert subscription.has_reader_left is has_left
    if sent:
        assert server.recv(100) == sent
        client.close()
    server.close()


@pytest.mark.parametrize("is_watched_first", [True, False])
def test_watcher_never_waits_on_the_connections_own_reader(*, is_watched_first: bool) -> None:
    server, client = gevent.socket.socketpair()
    subscription = Script()

    def watch() -> None:
        with Flask(__name__).test_request_context("/", environ_overrides={"gunicorn.socket": server}):
            watch_reader(subscription)
        gevent.sleep(0)

    if is_watched_first:
        watch()
    first = gevent.spawn(server.recv, 100)
    gevent.sleep(0)
    if not is_watched_first:
        watch()

    # Both wake for the same byte, and one of them takes it.
    client.send(b"a")
    gevent.sleep(0.01)
    second = gevent.spawn(server.recv, 100)
    gevent.sleep(0.01)
    client.send(b"b")
    gevent.joinall([first, second], timeout=1)

    assert (first.value, second.value) == (b"a", b"b")
    assert not subscription.has_reader_left
    client.close()
    server.close()


def test_without_a_connection_to_watch_nothing_is_watched() -> None:
    subscription = Script()

    with Flask(__name__).test_request_context("/"):
        watch_reader(subscription)
    gevent.sleep(0)

    assert not subscription.has_reader_left
