"""What the dispatcher does by itself as time passes: graces, hangs, and what is kept how long."""

import pytest

from tests.pool.driving import EPOCH, MODEL, OTHER_WEB, WEB, Pool, ids, serving
from webapp.pool import generation_store
from webapp.pool.generation_store import KEPT_SECONDS
from webapp.pool.readers import WEB_LATE_SECONDS
from webapp.pool.roster import HEARTBEAT_LATE_SECONDS
from webapp.wire.messages import (
    Accepted,
    EngineHello,
    Gone,
    PoolHello,
)

# --- time limits ---


def test_generation_that_waits_too_long_fails_and_the_running_one_goes_on() -> None:
    pool, (engine,) = serving(slots=1, queue_seconds=60)
    pool.submit("running")
    pool.submit("waiting")
    for _ in range(6):
        pool.wait(9.9)
        pool.beat(engine)
    assert pool.ends("waiting") == []

    pool.wait(1)

    assert [end.code for end in pool.ends("waiting")] == ["QueueTimeout"]
    assert pool.ends("running") == []
    assert pool.line.counts() == {}


def test_generation_that_runs_too_long_fails_and_its_place_is_free() -> None:
    pool, (engine,) = serving(slots=1, queue_seconds=10, generation_seconds=60)
    pool.submit("long")
    pool.token(engine, "long", 0)
    pool.wait(55)
    pool.beat(engine)
    pool.submit("next")

    pool.wait(6)

    assert [end.code for end in pool.ends("long")] == ["GenerationTimeout"]
    assert list(pool.running(engine)) == ["next"]


def test_waiting_for_a_lost_engine_counts_as_running() -> None:
    pool, (engine,) = serving(queue_seconds=10, generation_seconds=60)
    pool.submit("g")
    pool.token(engine, "g", 0)
    pool.lose_engine()

    pool.wait(50)
    assert pool.ends("g") == []

    pool.wait(11)
    assert [end.code for end in pool.ends("g")] == ["GenerationTimeout"]


# --- the pool's own pauses ---


def test_after_a_pause_of_the_pool_nobody_counts_as_silent() -> None:
    pool, (engine,) = serving()
    pool.hello()
    pool.submit("g")

    pool.now += 60
    pool.dispatcher.excuse_silence(pool.now)
    pool.wait(0.25)

    assert pool.keeper.killed == []
    assert list(pool.running(engine)) == ["g"]
    assert len(pool.state().web_processes) == 1


# --- readers who stay away ---


def test_generation_lives_through_its_grace_and_no_longer() -> None:
    pool, _ = serving()
    pool.submit("g", grace_seconds=15)
    pool.detach("g")

    pool.wait(14.9)
    assert pool.state().running == 1

    pool.wait(0.2)
    assert pool.state().running == 0
    pool.attach("g", reader=OTHER_WEB)
    assert pool.ends("g", OTHER_WEB)[0].finish_reason == "abort"


def test_reader_who_comes_back_stops_the_clock() -> None:
    pool, _ = serving()
    pool.submit("g", grace_seconds=15)
    pool.detach("g")
    pool.wait(10)

    pool.attach("g")
    pool.wait(100)
    assert pool.state().running == 1

    pool.detach("g")
    pool.wait(14)
    assert pool.state().running == 1
    pool.wait(2)
    assert pool.state().running == 0


def test_generation_that_nobody_ever_reads_is_aborted_after_its_grace() -> None:
    pool, _ = serving()
    pool.submit("g", attach=False, grace_seconds=15)

    pool.wait(16)

    assert pool.state().running == 0


def test_silent_web_process_is_given_up_with_its_readers() -> None:
    pool, _ = serving()
    pool.hello()
    pool.hello(OTHER_WEB)
    pool.submit("g", grace_seconds=0)
    pool.submit("h", grace_seconds=0, reader=OTHER_WEB)

    pool.wait(WEB_LATE_SECONDS - 0.1)
    pool.hello(OTHER_WEB)
    assert pool.state().running == 2
    pool.wait(0.2)

    assert pool.state().running == 1
    assert len(pool.state().web_processes) == 1


def test_web_process_that_was_given_up_is_told_when_it_comes_back() -> None:
    pool, (engine,) = serving()
    pool.hello()
    pool.hello()
    pool.submit("g", grace_seconds=60)
    pool.wait(WEB_LATE_SECONDS + 0.1)
    pool.token(engine, "g", 0)
    assert pool.numbered("g") == []

    pool.hello()
    pool.attach("g")

    hellos = [message for message in pool.heard[WEB] if isinstance(message, PoolHello)]
    assert hellos == [PoolHello(EPOCH, is_first=True), PoolHello(EPOCH), PoolHello(EPOCH, is_first=True)]
    assert ids(pool.numbered("g")) == [1]


# --- engines that hang ---


def test_hanging_engine_is_killed_and_its_work_goes_on_once_it_is_gone() -> None:
    pool, (engine,) = serving()
    pool.submit("g", grace_seconds=60, attach=False)

    pool.wait(HEARTBEAT_LATE_SECONDS - 0.1)
    assert pool.keeper.killed == []
    pool.wait(0.2)
    assert pool.keeper.killed == [engine]

    pool.lose_engine()
    again = pool.start_engine()
    assert "g" in pool.running(again)


def test_adopted_engine_has_time_to_speak_before_it_hangs() -> None:
    pool = Pool()
    pool.now += 1000
    pool.from_engine("3-1", EngineHello(engine_id="3-1", pid=4242, model=MODEL))

    pool.wait(1)

    assert pool.keeper.killed == []


# --- what is kept, and for how long ---


def test_ended_generation_is_kept_for_a_while_and_then_forgotten() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.finish(engine, "g")

    pool.wait(KEPT_SECONDS - 1)
    assert isinstance(pool.attach("g"), Accepted)
    pool.wait(2)

    assert pool.attach("g") == Gone(ask=2)


def test_no_more_ended_generations_are_kept_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, (engine,) = serving()
    for number in range(10):
        pool.submit(f"g{number}")
        pool.finish(engine, f"g{number}")
    ended = pool.dispatcher._generations.find("g0")
    assert ended
    monkeypatch.setattr(generation_store, "MOST_KEPT_BYTES", 7 * ended.approximate_bytes)

    pool.wait(0.25)

    kept = [number for number in range(10) if isinstance(pool.attach(f"g{number}"), Accepted)]
    assert kept == list(range(3, 10))


def test_running_generation_is_kept_however_long_it_takes() -> None:
    pool, (engine,) = serving()
    pool.submit("g")

    for _ in range(3):
        pool.wait(KEPT_SECONDS)
        pool.beat(engine)
    pool.token(engine, "g", 0)

    assert ids(pool.numbered("g")) == [1]
