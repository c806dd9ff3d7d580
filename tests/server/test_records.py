"""The pool's record of a generation, dropped readers and counted tokens, over real processes."""

import pytest

from tests.harness import Reader, Server, script, text_of, wait_until
from tests.server.pool_questions import ask_pool, record_of
from webapp.wire.generation import Finished, GenerationRequest
from webapp.wire.messages import AskTokenCount, TokenCount


def test_record_has_the_pace_of_the_stream_and_keeps_it_over_a_killed_pool(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=40, step_seconds=0.03), max_tokens="50", seed="3")
    generation_id = url.split("/")[2]
    with reader.attached(url) as stream:
        taken = [next(event for event in stream if event.event_id == "10")]
        before = record_of(server, generation_id)
        server.kill("pool")
    wait_until(lambda: server.readiness().status_code == 200, 20)
    taken = reader.read_to_end(url)

    record = record_of(server, generation_id)
    moments = [moment for moment, _ in record.texts]

    assert before.end is None and len(before.texts) >= 10
    assert isinstance(record.end, Finished) and record.end.timings
    assert "".join(text for _, text in record.texts) == text_of(taken)
    assert (record.device, record.precision, record.prompt_tokens) == ("none", "scripted", before.prompt_tokens)
    # What the next pool knows is when the journal was written: right after the turn that made it.
    kept = moments[: len(before.texts)]
    assert kept == pytest.approx([moment for moment, _ in before.texts], abs=250)
    assert moments == sorted(moments) and moments[0] >= 0
    seconds = record.end.timings.time_to_first_token + record.end.timings.decode_time
    assert 39 * 30 <= moments[-1] - moments[0] <= 1000 * seconds + 250


def test_dropped_reader_comes_back_and_misses_nothing(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=60, step_seconds=0.02), max_tokens="80", seed="3")
    with reader.attached(url) as stream:
        taken = [next(event for event in stream if event.event_id)]
        dropped = reader.client.post(url.replace("/events", "/drop"), headers={"X-CSRFToken": reader.csrf_token})
        taken += [event for event in stream if event.event_id]

    assert dropped.status_code == 204
    # Its connection was cut in the middle, as a broken one is: no end, no error.
    assert 0 < len(taken) < 61 and all(event.name == "message" and event.data != "[DONE]" for event in taken)
    with reader.attached(url, after=int(taken[-1].event_id or 0)) as stream:
        taken += [event for event in stream if event.event_id]
    assert [event.event_id for event in taken] == [str(n) for n in range(1, 62)]


def test_somebody_elses_readers_are_not_dropped(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=2))
    stranger = server.reader()

    answer = stranger.client.post(url.replace("/events", "/drop"), headers={"X-CSRFToken": stranger.csrf_token})

    assert answer.status_code == 404


def test_tokens_are_counted_while_streams_run_and_nothing_is_loaded_for_it(server: Server, reader: Reader):
    def count(model: str, prompt: str) -> TokenCount:
        request = GenerationRequest(model=model, context_window=4096, max_tokens=1, seed=1, prompt=prompt)
        answer = ask_pool(server, AskTokenCount(ask=7, request=request))
        assert isinstance(answer, TokenCount)
        return answer

    url = reader.submit(prompt=script(tokens=50, step_seconds=0.02))
    with reader.attached(url) as stream:
        assert next(event for event in stream if event.event_id)
        counted = count("@jeton/scripted", "five words are not many")
        reader.abort(url)
    refused = count("@jeton/scripted", "x" * 100_000)
    nobody = count("@jeton/scripted-slow", "five words")

    assert counted == TokenCount(ask=7, prompt_tokens=5)
    assert (refused.code, refused.prompt_tokens) == ("ContextWindowExceeded", None)
    assert nobody == TokenCount(ask=7)
    assert server.engine_state("@jeton/scripted-slow") in (None, "cold")
