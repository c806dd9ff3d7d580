"""The playground's streams over a real server, read as a browser reads them."""

import os
import signal
import time
from contextlib import suppress

import httpx
import pytest

from tests.harness import Reader, Server, events, script, text_of, wait_until


def test_frames_have_ids_without_a_gap_and_one_end(reader: Reader):
    url = reader.submit(prompt=script(pieces=["a", " b", "\n"]))

    with reader.attached(url) as stream:
        taken = list(stream)

    numbered = [(event.event_id, event.data) for event in taken if event.name == "message"]
    assert numbered == [
        ("1", '{"response":"a"}'),
        ("2", '{"response":" b"}'),
        ("3", '{"response":"\\n"}'),
        ("4", "[DONE]"),
    ]
    named = {event.name: event for event in taken if event.name != "message"}
    assert named["usage"].json["finish_reason"] == "stop"
    assert named["usage"].json["completion_tokens"] == 4
    assert all(event.event_id is None for event in named.values())


def test_status_says_that_the_prompt_is_read(reader: Reader):
    url = reader.submit(prompt=script(tokens=3, prefill_seconds=0.3))

    with reader.attached(url) as stream:
        first = next(stream)

    assert first.name == "status"
    assert first.json == {"phase": "reading", "prompt_tokens": 4, "device": "none", "precision": "scripted"}


def test_resume_gives_only_later_events(reader: Reader):
    url = reader.submit(prompt=script(tokens=20, step_seconds=0.02), seed="5")
    whole = reader.read_to_end(url)

    with reader.attached(url, after=7) as stream:
        later = [event for event in stream if event.name == "message"]
    by_query = [event for event in _read(reader, f"{url}?after=7") if event.name == "message"]

    assert [event.event_id for event in whole] == [str(n) for n in range(1, 22)]
    assert [(e.event_id, e.data) for e in later] == [(e.event_id, e.data) for e in whole[7:]]
    assert [(e.event_id, e.data) for e in by_query] == [(e.event_id, e.data) for e in later]


def test_resume_while_it_runs_has_no_gap_and_no_double(reader: Reader):
    url = reader.submit(prompt=script(tokens=60, step_seconds=0.02))
    taken = []

    # Leave every ten events, and come back to whichever web process accepts.
    while not taken or taken[-1].data != "[DONE]":
        with reader.attached(url, after=int(taken[-1].event_id) if taken else None) as stream:
            for event in stream:
                if event.event_id:
                    taken.append(event)
                if len(taken) % 10 == 0 and event.event_id:
                    break

    assert [event.event_id for event in taken] == [str(n) for n in range(1, 62)]


def test_two_readers_of_one_generation_read_the_same(reader: Reader):
    url = reader.submit(prompt=script(tokens=30, step_seconds=0.01))

    with reader.attached(url) as first, reader.attached(url) as second:
        one, two = list(first), list(second)

    assert [(e.event_id, e.data) for e in one if e.event_id] == [(e.event_id, e.data) for e in two if e.event_id]


def test_attaching_after_the_end_was_seen_answers_204(reader: Reader):
    url = reader.submit(prompt=script(tokens=2))
    end = reader.read_to_end(url)[-1]

    answer = reader.client.get(url, headers={"Last-Event-ID": str(end.event_id)})

    assert answer.status_code == 204


def test_unknown_and_foreign_generations_answer_404(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=2))
    somebody_else = server.reader()

    for other, path in ((reader, "/generations/none/events"), (somebody_else, url)):
        assert other.client.get(path).status_code == 404
        assert other.client.get(path, headers={"Last-Event-ID": "1"}).status_code == 404
    assert somebody_else.abort(url).status_code == 404


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 30, "١", "1;2", "0x1"])
def test_malformed_last_event_id_is_bad_input(reader: Reader, value: str):
    url = reader.submit(prompt=script(tokens=2))

    assert reader.client.get(url, headers={"Last-Event-ID": value.encode()}).status_code == 400
    assert reader.client.get(url, params={"after": value}).status_code == 400


def test_last_event_id_past_the_end_gets_gone(reader: Reader):
    url = reader.submit(prompt=script(tokens=2))
    reader.read_to_end(url)

    with reader.attached(url, after=99) as stream:
        assert [event.name for event in stream] == ["gone"]


def test_stop_frees_the_engine_and_ends_the_stream(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=2000, step_seconds=0.02), max_tokens="2000")

    with reader.attached(url) as stream:
        next(event for event in stream if event.event_id == "5")
        assert reader.abort(url).status_code == 204
        wait_until(lambda: server.engine("@jeton/scripted")["running"] == 0, 2)
        rest = list(stream)

    assert rest[-1].data == "[DONE]"
    assert next(event for event in rest if event.name == "usage").json["finish_reason"] == "abort"
    assert reader.abort(url).status_code == 204


def test_leaving_frees_the_engine_after_the_grace_and_a_reload_comes_back(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=2000, step_seconds=0.02), max_tokens="2000")
    with reader.attached(url) as stream:
        next(event for event in stream if event.event_id)
    time.sleep(1)
    with reader.attached(url, after=1) as stream:
        assert next(event for event in stream if event.event_id).event_id == "2"
    time.sleep(1)
    assert server.engine("@jeton/scripted")["running"] == 1

    seconds = wait_until(lambda: server.engine("@jeton/scripted")["running"] == 0, 10)

    assert seconds > 1


def test_failure_is_a_named_event_before_the_end(reader: Reader):
    url = reader.submit(prompt=script(tokens=10, fail_at=3))

    taken = [event for event in _read(reader, url) if event.name != "status"]

    assert [event.name for event in taken] == ["message", "message", "message", "error", "message"]
    assert taken[3].json == {"code": "EngineFailure", "message": "scripted"}
    assert (taken[4].event_id, taken[4].data) == ("4", "[DONE]")


def test_killed_web_process_loses_nothing(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=80, step_seconds=0.03), seed="9")
    with reader.attached(url) as stream:
        taken = [next(event for event in stream if event.event_id)]
        for process in server.processes("web"):
            os.kill(process["pid"], signal.SIGKILL)
        with suppress(httpx.HTTPError):
            taken += [event for event in stream if event.event_id]
    resumed = _resume(reader, url, int(taken[-1].event_id or 0))

    assert [event.event_id for event in taken + resumed] == [str(n) for n in range(1, 82)]
    alone = server.run(prompt=script(tokens=80), seed=9).json()["result"]["response"]
    assert text_of(taken + resumed) == alone


def test_killed_engine_loses_nothing(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=60, step_seconds=0.03), seed="11")
    with reader.attached(url) as stream:
        taken = [next(event for event in stream if event.event_id)]
        os.kill(server.engine("@jeton/scripted")["pid"], signal.SIGKILL)
        taken += [event for event in stream if event.event_id]

    assert [event.event_id for event in taken] == [str(n) for n in range(1, 62)]
    server.wait_until_ready()
    assert text_of(taken) == server.run(prompt=script(tokens=60), seed=11).json()["result"]["response"]


def test_hanging_engine_is_replaced_and_nothing_is_lost(server: Server, reader: Reader):
    url = reader.submit(prompt=script(tokens=60, step_seconds=0.03), seed="12")
    with reader.attached(url) as stream:
        taken = [next(event for event in stream if event.event_id)]
        os.kill(server.engine("@jeton/scripted")["pid"], signal.SIGSTOP)
        taken += [event for event in stream if event.event_id]

    assert [event.event_id for event in taken] == [str(n) for n in range(1, 62)]


def test_poison_generation_fails_alone(server: Server, reader: Reader):
    innocent = reader.submit(prompt=script(tokens=150, step_seconds=0.03), seed="3")
    poison = reader.submit(prompt=script(tokens=20, crash_at=4))

    with reader.attached(innocent) as stream:
        taken = [event for event in stream if event.event_id]
    failed = _read(reader, poison)

    assert [event.event_id for event in taken] == [str(n) for n in range(1, 152)]
    assert next(event for event in failed if event.name == "error").json["code"] == "EngineLost"


def test_queued_generations_learn_their_place(server: Server, reader: Reader):
    slow = {"model": "@jeton/scripted-small", "prompt": script(tokens=20, step_seconds=0.1), "max_tokens": "20"}
    running = [reader.submit(**slow) for _ in range(2)]
    waiting = [reader.submit(**slow) for _ in range(2)]

    places = []
    for url in waiting:
        with reader.attached(url) as stream:
            places.append(next(event.json for event in stream if event.json["phase"] == "queued"))

    assert places == [{"phase": "queued", "place": 1}, {"phase": "queued", "place": 2}]
    for url in (*waiting, *running):
        assert reader.abort(url).status_code == 204


def test_without_javascript_the_whole_answer_comes_as_a_page(reader: Reader):
    page = reader.post(fragment=False, prompt=script(pieces=["<b>bold</b>", " & more"]))

    assert page.status_code == 200
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page.text
    assert "<b>bold</b>" not in page.text


def test_forms_without_a_csrf_token_are_refused(reader: Reader):
    assert reader.post(prompt="a", csrf_token="").status_code == 400
    assert reader.client.post("/generations", data={"prompt": "a"}).status_code == 400


def test_bad_forms_name_the_field_and_keep_the_status(reader: Reader):
    for fields, status, word in (
        ({"prompt": "  "}, 400, "prompt"),
        ({"prompt": "a", "temperature": "hot"}, 400, "temperature"),
        ({"prompt": "a", "max_tokens": "99999"}, 400, "2560"),
        ({"prompt": "a", "history": "no json"}, 400, "history"),
        ({"prompt": "a", "model": "@no/such"}, 404, "@no/such"),
        ({"prompt": "a", "model": "@jeton/missing"}, 503, "install it"),
        ({"prompt": "a" * 600_000}, 413, ""),
    ):
        for is_fragment in (True, False):
            answer = reader.post(fragment=is_fragment, **fields)
            assert (answer.status_code, word in answer.text) == (status, True), (fields, answer.text)


def _read(reader: Reader, url: str) -> list:
    with reader.client.stream("GET", url) as response:
        return list(events(response))


def _resume(reader: Reader, url: str, after: int) -> list:
    taken: list = []
    while not taken or taken[-1].data != "[DONE]":
        with (
            suppress(httpx.HTTPError),
            reader.attached(url, after=int(taken[-1].event_id) if taken else after) as stream,
        ):
            taken += [event for event in stream if event.event_id]
        # Where no web process listens yet.
        time.sleep(0.05)
    return taken
