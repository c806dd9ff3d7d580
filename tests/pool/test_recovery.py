"""A pool that was killed, and the one that comes after it."""

from tests.pool.driving import MODEL, OTHER_WEB, Pool, entry, ids, serving, text
from webapp.pool.dispatcher import READERS_RETURN_SECONDS
from webapp.pool.generation_store import KEPT_SECONDS
from webapp.wire.generation import Failed, Started
from webapp.wire.messages import Accepted, Ended, EngineHello, Gone


def adopted(pool: Pool, engine_id: str) -> str:
    """The engine of the killed pool says hello and is ready."""
    pool.from_engine(engine_id, EngineHello(engine_id=engine_id, pid=4711, model=MODEL))
    pool.beat(engine_id)
    return engine_id


def test_generation_goes_on_from_its_last_token_on_the_engine_that_lived_on() -> None:
    killed, (engine,) = serving()
    killed.submit("g")
    killed.event(engine, "g", Started(3, "cpu", "scripted"))
    killed.token(engine, "g", 0)
    killed.token(engine, "g", 1)

    pool = killed.killed()
    adopted(pool, engine)

    (dispatch,) = pool.dispatches(engine)
    assert dispatch.token_ids == (0, 1)
    assert dispatch.lease not in {each.lease for each in killed.dispatches(engine)}
    pool.attach("g", after=1)
    pool.token(engine, "g", 2)
    pool.finish(engine, "g", tokens=3)
    assert ids(pool.numbered("g")) == [2, 3, 4]
    assert text(pool.numbered("g")) == "1 2 "


def test_reader_who_had_seen_everything_sees_the_rest() -> None:
    killed, (engine,) = serving()
    killed.submit("g")
    killed.token(engine, "g", 0)

    pool = killed.killed()
    assert isinstance(pool.attach("g", after=1), Accepted)
    adopted(pool, engine)
    pool.token(engine, "g", 1)

    assert ids(pool.numbered("g")) == [2]


def test_reader_of_events_that_a_loss_of_power_took_waits_until_they_are_made_again() -> None:
    killed, (engine,) = serving()
    killed.submit("g")
    for position in range(3):
        killed.token(engine, "g", position)
    # The machine's disk never had the last two.
    del killed.kept[-2:]

    pool = killed.killed()
    adopted(pool, engine)
    assert isinstance(pool.attach("g", after=3), Accepted)
    assert pool.dispatches(engine)[-1].token_ids == (0,)
    for position in range(1, 4):
        pool.token(engine, "g", position)

    # The web process leaves out what its reader has seen.
    assert ids(pool.numbered("g")) == [2, 3, 4]
    assert isinstance(pool.attach("g", after=1000), Gone)


def test_event_id_that_was_never_given_is_no_event() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)
    assert isinstance(pool.attach("g", after=2), Gone)

    next_pool = pool.killed()
    adopted(next_pool, engine)
    next_pool.finish(engine, "g", tokens=1)

    assert isinstance(next_pool.attach("g", after=3), Gone)


def test_generation_that_waited_waits_again_behind_those_that_ran() -> None:
    killed, (engine,) = serving(slots=1)
    killed.submit("running", client="a")
    killed.event(engine, "running", Started(3, "cpu", "scripted"))
    killed.submit("waiting", client="b")

    pool = killed.killed()
    adopted(pool, engine)

    assert list(pool.running(engine)) == ["running"]
    assert pool.state().waiting == {MODEL: 1}
    pool.finish(engine, "running")
    assert pool.dispatches(engine)[-1].generation_id == "waiting"


def test_readers_have_a_while_to_come_back_also_those_without_a_grace() -> None:
    killed, (engine,) = serving()
    killed.submit("comes", grace_seconds=0)
    killed.submit("stays away", grace_seconds=0)

    pool = killed.killed()
    adopted(pool, engine)
    pool.wait(READERS_RETURN_SECONDS - 1)
    pool.beat(engine)
    pool.attach("comes")
    pool.wait(2)

    assert list(pool.running(engine)) == ["comes"]


def test_ended_generation_can_still_be_read_for_as_long_as_before() -> None:
    killed, (engine,) = serving()
    killed.submit("g")
    killed.token(engine, "g", 0)
    killed.finish(engine, "g", tokens=1)
    killed.wait(KEPT_SECONDS / 2)

    pool = killed.killed()

    assert isinstance(pool.attach("g", after=2), Ended)
    assert isinstance(pool.attach("g", reader=OTHER_WEB), Accepted)
    assert ids(pool.numbered("g", OTHER_WEB)) == [1, 2]
    pool.wait(KEPT_SECONDS / 2 + 1)
    assert isinstance(pool.attach("g"), Gone)


def test_submitting_again_finds_what_the_killed_pool_accepted() -> None:
    killed, (engine,) = serving()
    killed.submit("g")
    killed.token(engine, "g", 0)

    pool = killed.killed()
    assert isinstance(pool.submit("g"), Accepted)

    assert ids(pool.numbered("g")) == [1]
    assert pool.state().waiting == {MODEL: 1}


def test_timings_span_the_restart() -> None:
    killed, (engine,) = serving()
    killed.submit("g")
    killed.wait(1)
    killed.event(engine, "g", Started(3, "cpu", "scripted"))
    killed.wait(1)
    killed.token(engine, "g", 0)
    killed.wait(3)

    pool = killed.killed()
    pool.attach("g")
    adopted(pool, engine)
    pool.now += 4
    pool.finish(engine, "g", tokens=1)

    (end,) = pool.ends("g")
    assert (end.timings.time_to_first_token, end.timings.decode_time) == (2, 7)


def test_generation_of_a_model_that_is_no_more_fails() -> None:
    killed, _ = serving()
    killed.submit("g")

    pool = killed.killed(entry("@test/another"))

    pool.attach("g")
    assert [type(end) for end in pool.ends("g")] == [Failed]
    assert pool.ends("g")[0].code == "ModelNotFound"


def test_killing_the_pool_counts_against_nobody() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    for _ in range(5):
        pool = pool.killed()
        adopted(pool, engine)

    assert list(pool.running(engine)) == ["g"]


def test_pool_accepts_nothing_while_its_disk_takes_nothing() -> None:
    pool, (engine,) = serving()
    pool.submit("before")
    pool.disk.is_failing = True

    refused = pool.submit("g")

    assert (refused.code, refused.retry_after) == ("StorageFull", 10)
    pool.token(engine, "before", 0)
    assert ids(pool.numbered("before")) == [1]
    pool.disk.is_failing = False
    assert isinstance(pool.submit("g"), Accepted)
