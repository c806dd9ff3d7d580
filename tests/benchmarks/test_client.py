"""The lean reader: moments of events in bodies that came in awkward pieces."""

import pytest

from benchmarks.client import RawStream, StreamFailed, events


def received(*pieces: bytes) -> RawStream:
    """A stream whose piece number n came at second n."""
    stream = RawStream(b"")
    for moment, piece in enumerate(pieces):
        stream.body += piece
        stream.arrivals.append((len(stream.body), float(moment)))
    return stream


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_event_has_the_moment_of_its_last_byte() -> None:
    whole = chunk(b"data: one\n\n")
    stream = received(CHUNKED, whole[:6], whole[6:] + chunk(b"data: two\n\n"), chunk(b"data: three\n\n") + b"0\r\n\r\n")

    assert list(events(stream)) == [(2.0, b"one"), (2.0, b"two"), (3.0, b"three")]


def test_event_may_be_cut_between_chunks() -> None:
    stream = received(CHUNKED, chunk(b"data: o"), chunk(b"ne\n\n"), b"0\r\n\r\n")

    assert list(events(stream)) == [(2.0, b"one")]


def test_body_without_chunks_ends_with_the_connection() -> None:
    stream = received(b"HTTP/1.1 200 OK\r\n\r\ndata: o", b"ne\r\n\r\n", b"data: two\n\n")

    assert list(events(stream)) == [(1.0, b"one"), (2.0, b"two")]


def test_comments_and_other_fields_are_no_events() -> None:
    stream = received(CHUNKED, chunk(b": keep-alive\n\nid: 1\ndata: one\n\n"), b"0\r\n\r\n")

    assert [data for _, data in events(stream)] == [b"one"]


@pytest.mark.parametrize("body", [b"HTTP/1.1 429 Too Many Requests\r\n\r\nlater", b""])
def test_anything_but_a_200_is_a_failure(body: bytes) -> None:
    with pytest.raises(StreamFailed):
        list(events(received(body)))


def test_chunk_that_broke_off_is_a_failure() -> None:
    with pytest.raises(StreamFailed, match="broke off"):
        list(events(received(CHUNKED, chunk(b"data: one\n\n")[:-6])))
