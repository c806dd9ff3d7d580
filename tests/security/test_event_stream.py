"""No text of a model can break out of its event: to the byte, however the bytes are cut on the way. Chromium's part of
this is in tests/browser/test_event_stream.py.
"""

import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness import TOKEN, Reader, Server
from tests.security.callers import RUN
from tests.security.event_source import EventDecoder, ServerSentEvent, cut
from tests.security.hostile_texts import HOSTILE, random_texts, scripts
from tests.web.test_sse import hostile_text, parsed
from webapp.web.sse import data_frame

SEED = 20231


def decoded(data: bytes, numbers: random.Random) -> list[ServerSentEvent]:
    decoder = EventDecoder()
    return [event for block in cut(data, numbers) for event in decoder.feed(block)]


@given(texts=st.lists(hostile_text, max_size=8), numbers=st.randoms())
def test_this_client_reads_what_the_other_parser_reads(texts: list[str], numbers: random.Random) -> None:
    frames = b"".join(data_frame({"response": text}, event_id=number) for number, text in enumerate(texts))
    # Frames as such, and the same texts as nobody should send them.
    for data in (frames, "".join(f"data: {text}\n\n" for text in texts).encode()):
        events = [(event.kind, event.data, event.last_event_id) for event in decoded(data, numbers)]
        assert events == parsed(data)


@settings(max_examples=500)
@given(data=st.binary(max_size=200), numbers=st.randoms())
def test_any_bytes_in_any_pieces_are_read_as_the_same_events(data: bytes, numbers: random.Random) -> None:
    decoder = EventDecoder()

    assert decoded(data, numbers) == list(decoder.feed(data))


def expect_text(events: list[ServerSentEvent], texts: list[str]) -> None:
    """The text to the byte, its ids without a gap, one end, and no event that this server does not send."""
    assert {event.kind for event in events} <= {"message", "status", "usage"}
    messages = [event for event in events if event.kind == "message"]
    assert [event.data for event in messages].count("[DONE]") == 1
    assert messages[-1].data == "[DONE]"
    got = "".join(json.loads(event.data)["response"] for event in messages[:-1])
    assert got.encode() == "".join(texts).encode()
    assert [int(event.last_event_id) for event in messages] == list(range(1, len(messages) + 1))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_token_arrives_to_the_byte(server: Server, name: str) -> None:
    texts = ["before", HOSTILE[name], "after", HOSTILE[name]]
    reader = server.reader()

    data = reader.client.get(reader.submit(prompt=scripts(texts)[0])).content

    for seed in range(20):
        expect_text(decoded(data, random.Random(seed)), texts)


def test_ten_thousand_random_texts_arrive_to_the_byte(server: Server) -> None:
    texts = random_texts(SEED)
    numbers = random.Random(SEED)
    reader: Reader = server.reader()
    rest = iter(texts)
    for prompt in scripts(texts):
        data = reader.client.get(reader.submit(prompt=prompt, max_tokens=2560)).content
        part = list(itertools.islice(rest, len(json.loads(prompt)["pieces"])))
        expect_text(decoded(data, numbers), part)


def test_streams_of_the_api_hold_no_foreign_event_either(server: Server) -> None:
    texts = [*HOSTILE.values(), *random_texts(SEED)[:1000]]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = {"prompt": scripts(texts)[0], "stream": True, "max_tokens": 2560}

    data = server.client.post(RUN, headers=headers, json=body).content

    events = decoded(data, random.Random(SEED))
    assert {(event.kind, event.last_event_id) for event in events} == {("message", "")}
    assert [event.data for event in events].count("[DONE]") == 1
    assert "".join(json.loads(event.data)["response"] for event in events[:-1]) == "".join(texts)
