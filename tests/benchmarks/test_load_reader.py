"""The reader of many streams: what it counts, whatever the pieces in which answers come."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from benchmarks.load.reader import Reader, Readings, Source, compile_reader

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
# Longer than any of these tests.
DEADLINE_SECONDS = 20


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def event(event_id: int, text: str) -> bytes:
    return b'id: %d\ndata: {"response":"%b"}\n\n' % (event_id, text.encode())


def done(event_id: int) -> bytes:
    return b"id: %d\ndata: [DONE]\n\n" % event_id


@contextmanager
def answering(*pieces: bytes, seconds_between: float = 0.02) -> Iterator[int]:
    """The port of a server that answers one request with these pieces, each in a packet of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.recv(1 << 16)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(seconds_between)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def read(sources: Sequence[Source], *, begin: int = 0, end: int = 1 << 62) -> Readings:
    deadline = time.monotonic_ns() + DEADLINE_SECONDS * 10**9
    with Reader(compile_reader(), sources, begin=begin, end=end, deadline=deadline) as reading:
        return reading.finish()


def test_stream_is_whole_whatever_the_pieces_it_comes_in() -> None:
    body = chunk(b"retry: 300\n\n" + event(1, "a")) + chunk(b": keep-alive\n\n" + event(2, "b")) + chunk(done(3))
    answer = HEAD + body + LAST_CHUNK
    pieces = [answer[at : at + 7] for at in range(0, len(answer), 7)]

    with answering(*pieces, seconds_between=0.002) as port:
        found = read([Source(port, "/")])

    assert (found.connected, found.complete, found.failed) == (1, 1, 0)
    assert (found.events, found.gaps, found.repeats, found.comments) == (3, 0, 0, 1)


def test_events_that_are_missing_or_come_twice_are_counted() -> None:
    with answering(HEAD, chunk(event(1, "a") + event(1, "a") + event(4, "d") + done(5)), LAST_CHUNK) as port:
        found = read([Source(port, "/")])

    assert (found.events, found.gaps, found.repeats) == (4, 1, 1)


def test_delay_is_from_the_stamp_to_the_reading_for_what_was_made_in_the_measured_time() -> None:
    now = time.monotonic_ns()
    early, late = now - 3 * 10**9, now - 10**9
    with answering(HEAD, chunk(event(1, f"{early} ") + event(2, f"{late} ") + done(3)), LAST_CHUNK) as port:
        found = read([Source(port, "/")], begin=now - 2 * 10**9, end=now)

    assert found.measured == 1
    assert 1.0 <= found.p50 <= found.longest + 0.001 < 3.0


@pytest.mark.parametrize(
    ("pieces", "failure"),
    [
        ([b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"], "HTTP/1.1 503 Service Unavailable"),
        ([HEAD, chunk(event(1, "a"))], "the connection ended"),
        ([HEAD, chunk(event(1, "a")), LAST_CHUNK], "a stream ended without its end"),
    ],
    ids=["refused", "cut", "endless"],
)
def test_stream_without_its_end_has_failed(pieces: list[bytes], failure: str) -> None:
    with answering(*pieces) as port:
        found = read([Source(port, "/")])

    assert (found.complete, found.failed, found.failure) == (0, 1, failure)


def test_reader_says_how_many_are_connected_and_stops_when_it_is_told_to() -> None:
    deadline = time.monotonic_ns() + DEADLINE_SECONDS * 10**9
    with (
        answering(HEAD, chunk(event(1, "a"))) as port,
        Reader(compile_reader(), [Source(port, "/")], begin=0, end=0, deadline=deadline) as reading,
    ):
        assert reading.wait_until_connected() == 1
        reading.stop()
        found = reading.finish()

    assert found.connected == 1
