"""`/worker-endpoint` over a real server, read as an EventSource reads it."""

import os
import re
import signal

import httpx
import pytest

from tests.harness import Event, Server, events, script, text_of, wait_until

URL = "/worker-endpoint"
DRAWN = {"model": "@jeton/scripted", "seed": "7"}


@pytest.fixture
def browser(server: Server) -> httpx.Client:
    """Keeps its cookie, as a browser does."""
    return httpx.Client(base_url=server.url, timeout=30.0)


def read(client: httpx.Client, *, last_event_id: str | None = None, **query: str) -> list[Event]:
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with client.stream("GET", URL, params=query, headers=headers) as response:
        assert response.status_code == 200, response.read()
        return list(events(response))


def running(server: Server) -> int:
    return server.engine("@jeton/scripted")["running"]


def test_page_reads_the_published_frames_and_their_end(browser: httpx.Client):
    answer = browser.get(URL, params={"prompt": script(pieces=["New", " York", "\n"]), "model": "@jeton/scripted"})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    generation_id = re.match(r"id: ([0-9a-f]{32}):0\nretry: 300\n\n", answer.text)[1]
    data = [line for line in answer.text.splitlines() if line.startswith('data: {"response"') or "DONE" in line]
    assert data == [
        'data: {"response":"New"}',
        'data: {"response":" York"}',
        'data: {"response":"\\n"}',
        "data: [DONE]",
    ]
    ids = [line.removeprefix("id: ") for line in answer.text.splitlines() if line.startswith("id: ")]
    assert ids == [f"{generation_id}:{n}" for n in range(5)]


def test_without_a_query_it_asks_what_the_published_worker_asks(browser: httpx.Client):
    with browser.stream("GET", URL) as response:
        assert response.headers["x-jeton-served-by"] == "@jeton/scripted"
        taken = list(events(response))

    usage = next(event.json for event in taken if event.name == "usage")
    assert usage["prompt_tokens"] == len(["where", "is", "new", "york?"])
    assert taken[-1].data == "[DONE]"


def test_parameters_of_the_query_are_those_of_the_api(server: Server, browser: httpx.Client):
    taken = read(browser, **DRAWN, prompt=script(tokens=90), max_tokens="5", system="Be brief.", temperature="0.2")

    alone = server.run(prompt=script(tokens=90), seed=7, max_tokens=5).json()["result"]["response"]
    assert text_of([event for event in taken if event.name == "message"]) == alone


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"max_tokens": "many"}, 400, "InvalidFields"),
        ({"temperature": "9"}, 400, "InvalidFields"),
        ({"model": "@no/such"}, 404, "ModelNotFound"),
        ({"model": "@jeton/missing"}, 503, "ModelNotInstalled"),
        ({"model": "@jeton/scripted-small", "prompt": "one " * 11, "max_tokens": "2"}, 413, "ContextWindowExceeded"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_fails_before_it_starts_is_json_with_its_status(
    server: Server, browser: httpx.Client, query: dict[str, str], status: int, code: str
):
    # What it takes to load is not waited for without a stream.
    server.run(model="@jeton/scripted-small", prompt="load", max_tokens=1)

    answer = browser.get(URL, params=query)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["message"]


def test_failure_half_way_is_an_event_before_the_end(browser: httpx.Client):
    taken = read(browser, model="@jeton/scripted", prompt=script(tokens=9, fail_at=2, step_seconds=0.05))

    assert [event.name for event in taken if event.name != "status"] == ["message", "message", "error", "message"]
    assert taken[-1].data == "[DONE]"


def test_reader_that_comes_back_goes_on_with_the_same_generation(server: Server, browser: httpx.Client):
    query = DRAWN | {"prompt": script(tokens=40, step_seconds=0.02)}
    with browser.stream("GET", URL, params=query) as response:
        stream = events(response)
        taken = [next(event for event in stream if event.event_id) for _ in range(3)]
    for process in server.processes("web"):
        os.kill(process["pid"], signal.SIGKILL)
    server.wait_until_ready()

    resumed = read(browser, last_event_id=taken[-1].event_id, **query)

    numbered = [event for event in [*taken, *resumed] if event.event_id]
    assert [event.event_id.partition(":")[2] for event in numbered] == [str(n) for n in range(1, 42)]
    assert len({event.event_id.partition(":")[0] for event in numbered}) == 1
    assert text_of(numbered) == server.run(prompt=script(tokens=40), seed=7).json()["result"]["response"]
    # Its end was seen: 204 stops a browser for good.
    assert browser.get(URL, headers={"Last-Event-ID": numbered[-1].event_id}).status_code == 204


def test_reader_lost_before_the_first_text_comes_back_to_the_same_generation(server: Server, browser: httpx.Client):
    query = DRAWN | {"prompt": script(tokens=3, prefill_seconds=0.5)}
    with browser.stream("GET", URL, params=query) as response:
        opening = next(response.iter_lines()).removeprefix("id: ")

    resumed = read(browser, last_event_id=opening, **query)

    assert [event.event_id for event in resumed if event.event_id] == [f"{opening[:-1]}{n}" for n in range(1, 5)]


def test_generation_of_another_browser_is_unknown(server: Server, browser: httpx.Client):
    taken = read(browser, **DRAWN, prompt=script(tokens=3))

    other = httpx.get(server.url + URL, headers={"Last-Event-ID": taken[1].event_id})

    assert (other.status_code, other.json()["error"]["code"]) == (404, "GenerationNotFound")


@pytest.mark.parametrize("event_id", ["7", "x:1", "0" * 32, f"{'0' * 32}:-1", f"{'0' * 32}:{'9' * 13}"])
def test_malformed_event_id_starts_nothing(browser: httpx.Client, event_id: str):
    answer = browser.get(URL, headers={"Last-Event-ID": event_id})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidFields")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Purpose": "prefetch"},
        {"Purpose": "prefetch"},
    ],
    ids=str,
)
def test_other_sites_and_browsers_that_look_ahead_start_nothing(browser: httpx.Client, headers: dict[str, str]):
    answer = browser.get(URL, headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Forbidden")


def test_head_starts_nothing(server: Server, browser: httpx.Client):
    accepted = accepted_generations(server)

    answer = browser.head(URL, params=DRAWN | {"prompt": script(tokens=1)})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    assert accepted_generations(server) == accepted


def test_generation_whose_reader_has_left_ends_after_its_grace(server: Server, browser: httpx.Client):
    before = running(server)
    query = DRAWN | {"prompt": script(tokens=2000, step_seconds=0.02), "max_tokens": "2000"}
    with browser.stream("GET", URL, params=query) as response:
        next(event for event in events(response) if event.event_id)
        assert running(server) == before + 1

    wait_until(lambda: running(server) == before, 10)


def accepted_generations(server: Server) -> float:
    metrics = server.client.get("/metrics").text
    return sum(
        float(line.split()[-1]) for line in metrics.splitlines() if re.match(r"jeton_generations_accepted", line)
    )
