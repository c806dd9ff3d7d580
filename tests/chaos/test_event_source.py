"""The soak's own reader and verdict: what is lost, doubled or wrong is told, and nothing else is."""

import pytest

from tests.chaos.answers import Asked
from tests.chaos.event_parser import EventParser
from tests.chaos.event_source import EventSource
from tests.chaos.wave import Stream, Verdict

EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
USAGE = b'event: usage\ndata: {"finish_reason": "stop"}\n\n'


def text(event_id: int, said: str) -> bytes:
    return b'id: %d\ndata: {"response": "%b"}\n\n' % (event_id, said.encode())


def done(event_id: int) -> bytes:
    return USAGE + b"id: %d\ndata: [DONE]\n\n" % event_id


def seen(*answers: bytes, closing_status: int = 204, error_code: str | None = None) -> Stream:
    """The stream of a reader who was to read "ab", and got these answers, and this status then."""
    source = EventSource("/generations/g/events", "session=s")
    for answer in answers:
        source.take_head(200, EVENTS)
        source.take_body(answer)
        source.take_end(is_whole=True)
    source.take_head(closing_status, {})
    return Stream(Asked("m", "p", 1, 3, "ab", error_code), source)


def counts(stream: Stream, journalled: str = "ab") -> tuple[int, int, int]:
    verdict = Verdict()
    verdict.take([stream], {"g": journalled})
    return verdict.lost, verdict.doubled, verdict.wrong


def test_whole_stream_is_unbroken_however_often_it_was_opened_again():
    assert counts(seen(text(1, "a") + text(2, "b") + done(3))) == (0, 0, 0)
    stream = seen(text(1, "a"), b"retry: 50\n\n", text(2, "b") + done(3))
    assert counts(stream) == (0, 0, 0)
    assert (stream.source.reconnects, stream.source.retry_seconds) == (2, 0.05)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (seen(text(1, "a") + text(2, "b")), (1, 0, 0)),
        (seen(text(1, "a") + done(3)), (1, 0, 0)),
        (seen(text(1, "a") + b"event: gone\ndata: {}\n\n"), (1, 0, 0)),
        (seen(text(1, "a"), closing_status=404), (1, 0, 0)),
        (seen(text(1, "a") + text(2, "b") + done(3), closing_status=500), (1, 0, 0)),
        (seen(text(1, "a") + text(1, "a") + text(2, "b") + done(3)), (0, 1, 1)),
        (seen(text(1, "a") + text(2, "c") + done(3)), (0, 0, 1)),
        (seen(text(1, "a") + text(2, "b") + done(3) + done(4)), (0, 0, 1)),
        (seen(text(1, "a") + text(2, "b") + b'event: error\ndata: {"code": "EngineLost"}\n\n' + done(3)), (0, 0, 1)),
        (seen(text(1, "a") + text(2, "b") + done(3), error_code="EngineLost"), (0, 0, 1)),
    ],
    ids=["no end", "skipped", "gone", "closed", "no 204", "twice", "other text", "two ends", "error", "no error"],
)
def test_broken_stream_is_told(stream: Stream, expected: tuple[int, int, int]):
    assert counts(stream) == expected


def test_text_that_the_journal_has_not_is_wrong():
    assert counts(seen(text(1, "a") + text(2, "b") + done(3)), journalled="a") == (0, 0, 1)


def test_answer_that_is_no_event_stream_closes_the_source_for_good():
    source = EventSource("/generations/g/events", "session=s")

    source.take_head(200, {"content-type": "text/html"})

    assert source.is_closed


def test_connection_that_breaks_is_a_cut_off_and_one_that_was_never_made_is_not():
    source = EventSource("/generations/g/events", "session=s")
    source.take_end(is_whole=False)
    source.take_head(200, EVENTS)
    source.take_body(text(1, "a"))
    source.take_end(is_whole=False)

    assert (source.cut_offs, source.reconnects) == (1, 0)
    assert b"Last-Event-ID: 1\r\n" in source.request(80)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_events_are_the_same_however_their_bytes_arrive(line_end: bytes):
    stream = b": hello\nid: 1\nevent: x\ndata: a\ndata:  b\nretry: 9\nretry: no\n\nid\nid: 2\0\ndata\n\n: \n"
    stream = stream.replace(b"\n", line_end)

    for size in range(1, len(stream)):
        parser = EventParser("")
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        events = [event for piece in pieces for event in parser.push(piece)]

        assert events == [("x", "a\n b", "1"), ("message", "", "")]
        assert parser.retry_seconds == 0.009
