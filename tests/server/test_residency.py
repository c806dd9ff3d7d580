"""Models that load at their first use, over a real server: progress, idleness, the budget, and a pool that is lost."""

import os
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.harness import Event, Server, make_server, script, text_of, wait_until

SLOW, OTHER, HUGE = "@jeton/scripted-slow", "@jeton/scripted-other", "@jeton/scripted-huge"
StartServer = Callable[..., Server]


def percents(taken: list[Event]) -> list[int]:
    statuses = [event.json for event in taken if event.name == "status"]
    return [status["percent"] for status in statuses if status["phase"] == "loading"]


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose models share so little memory that two do not fit beside each other."""
    server = make_server(tmp_path_factory.mktemp("bounded"), JETON_MEMORY_BUDGET="3 GB")
    server.start()
    yield server
    server.stop()


def test_model_loads_at_its_first_use_shows_how_far_and_unloads_when_idle(own_server: StartServer) -> None:
    server = own_server(JETON_IDLE_UNLOAD_SECONDS="2")
    reader = server.reader()
    assert server.engine_state(SLOW) is None
    assert "Cold: loads at first use" in reader.client.get("/models/options").text

    # when: somebody asks
    url = reader.submit(model=SLOW, prompt=script(pieces=["New ", "York"]))
    with reader.attached(url) as stream:
        taken = [next(stream)]
        # Its engine is there once it has told how far it is.
        while percents(taken)[-1:] in ([], [0]):
            taken.append(next(stream))
        options = reader.client.get("/models/options").text
        taken += stream

    # then: the reader sees it load, and the page too
    seen = percents(taken)
    # The first may come twice: from the pool, and from the engine that has just said hello.
    assert seen == sorted(seen)
    assert len(set(seen)) >= 2
    assert 'optgroup label="Loading"' in options
    assert (text_of(taken), taken[-1].data) == ("New York", "[DONE]")
    assert server.engine_state(SLOW) == "idle"

    # when: nobody asks any more
    wait_until(lambda: server.engine_state(SLOW) == "cold", 15, lambda: server.output)

    # then: that is no loss, and the server is as ready as before
    assert server.readiness().json() == {"status": "ready"}
    assert (server.engine(SLOW)["restarts"], server.engine(SLOW)["pid"]) == (0, None)
    assert "is lost" not in server.output
    assert server.engine_state("@jeton/scripted") in ("idle", "busy")
    answer = server.run(SLOW, prompt=script(pieces=["again"]))
    assert answer.json()["result"]["response"] == "again"


def test_models_that_do_not_fit_together_take_turns_and_no_answer_is_cut(bounded: Server) -> None:
    server = bounded
    answers: dict[str, httpx.Response] = {}

    def ask(name: str, model: str, tokens: int) -> threading.Thread:
        def run() -> None:
            answers[name] = server.run(model, prompt=script(tokens=tokens, step_seconds=0.02), max_tokens=tokens)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    # given: one that runs, and one that wants its memory
    threads = [ask("first", OTHER, 150)]
    wait_until(lambda: server.engine_state(OTHER) == "busy", 30)
    threads.append(ask("second", SLOW, 5))
    wait_until(lambda: server.engine_state(OTHER) == "draining", 30)
    threads.append(ask("third", OTHER, 5))

    for thread in threads:
        thread.join()

    counts = {name: answer.json()["result"]["usage"]["completion_tokens"] for name, answer in answers.items()}
    assert counts == {"first": 150, "second": 5, "third": 5}
    assert "is lost" not in server.output
    state = server.state()
    assert state["memory_taken"] <= state["memory_budget"] == 3 * 10**9


def test_model_that_cannot_fit_is_refused_with_the_reason_wherever_it_is_asked_for(bounded: Server) -> None:
    server, reader = bounded, bounded.reader()
    reason = f"{HUGE} needs about 900000.0 GB of memory; the budget of all models is 3.0 GB"

    answer = server.run(HUGE, prompt="hi")
    fragment = reader.post(model=HUGE, prompt="hi")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, 3040)
    assert reason in answer.json()["errors"][0]["message"]
    assert (fragment.status_code, reason in fragment.text) == (503, True)
    assert reason in reader.client.get("/").text
    # The start-up lines come when the start has settled.
    wait_until(lambda: reason in server.output, 10)
    assert server.engine_state(HUGE) is None


def test_new_pool_takes_over_an_engine_that_was_loaded_on_demand(own_server: StartServer) -> None:
    server = own_server()
    server.run("@jeton/scripted-small", prompt="hi", max_tokens=1)
    engine_pid = server.engine("@jeton/scripted-small")["pid"]

    killed = server.kill("pool")
    wait_until(lambda: _pool_pid(server) not in (None, killed), 60)
    server.wait_until_ready()

    # Readiness says nothing of models that load at their first use.
    wait_until(lambda: server.engine_state("@jeton/scripted-small") == "idle", 30, lambda: server.output)
    assert server.engine("@jeton/scripted-small")["pid"] == engine_pid
    os.kill(engine_pid, 0)
    assert server.run("@jeton/scripted-small", prompt="hi", max_tokens=1).status_code == 200


def _pool_pid(server: Server) -> int | None:
    try:
        return server.processes("pool")[0]["pid"]
    except (httpx.HTTPError, KeyError):
        return None
