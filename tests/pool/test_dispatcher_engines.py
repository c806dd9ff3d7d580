"""What engines say to the dispatcher, and what it does where one is lost, adopted or silent."""

import pytest

from tests.pool.driving import COLD, EPOCH, MODEL, OTHER_WEB, Pool, entry, ids, serving, text
from webapp.pool.dispatcher import PROBE_AFTER_SECONDS
from webapp.pool.roster import HOPELESS_AFTER
from webapp.wire.generation import Delta, Failed, Finished, Loading, Started, Usage
from webapp.wire.messages import (
    AbortLease,
    Accepted,
    AskHello,
    EngineHeartbeat,
    EngineHello,
    EnginePing,
    EngineStop,
    Gone,
    LeaseEvent,
    LoadFailed,
    PoolState,
    Refused,
    StepEvents,
)

# --- loading ---


def test_generation_waits_for_the_model_and_sees_it_load() -> None:
    pool = Pool()
    pool.submit("g")
    engine = pool.start_engine(is_ready=False)

    pool.beat(engine, is_ready=False, load_fraction=0.0)
    pool.beat(engine, is_ready=False, load_fraction=0.5)
    pool.beat(engine, is_ready=False, load_fraction=0.5)
    pool.beat(engine)

    assert pool.statuses("g") == [Loading(0.0), Loading(0.5)]
    assert len(pool.dispatches(engine)) == 1


def test_engine_of_a_cold_model_is_wanted_once_somebody_waits() -> None:
    pool = Pool(entry(), entry(COLD, is_loaded_at_start=False))
    assert [post.entry.name for post in pool.posts] == [MODEL]

    pool.submit("g", model=COLD)
    cold = pool.posts[1]
    assert pool.dispatcher.engines_to_start(pool.now) == [pool.posts[0], cold]

    pool.abort("g")
    assert pool.dispatcher.engines_to_start(pool.now) == [pool.posts[0]]


def test_model_that_never_loads_fails_those_who_wait() -> None:
    pool = Pool()
    pool.submit("g")
    pool.submit("h")

    for _ in range(HOPELESS_AFTER):
        assert pool.ends("g") == []
        pool.fail_to_load()

    for name in ("g", "h"):
        (end,) = pool.ends(name)
        assert isinstance(end, Failed) and end.code == "ModelUnavailable" and "cannot be loaded" in end.message
    assert pool.state().waiting == {}


def test_model_that_does_not_load_refuses_until_the_next_try_is_due() -> None:
    pool = Pool()
    for _ in range(HOPELESS_AFTER):
        pool.fail_to_load()

    refused = pool.submit("g")
    pool.now = pool.posts[0].start_due_at
    accepted = pool.submit("h")

    assert isinstance(refused, Refused) and refused.code == "ModelUnavailable" and refused.retry_after
    assert isinstance(accepted, Accepted)


def test_refusal_names_the_error_of_whichever_engine_has_one() -> None:
    pool = Pool(entry(engines=2))
    for _ in range(HOPELESS_AFTER):
        pool.fail_to_load(0)
        pool.fail_to_load(1)
    pool.posts[0].error = None

    refused = pool.submit("g")

    assert isinstance(refused, Refused) and "cannot be loaded" in refused.message


def test_engine_that_gets_ready_in_the_end_has_no_error_any_more() -> None:
    pool = Pool()
    pool.fail_to_load()
    assert pool.state().engines[0].error == "no weights"

    pool.start_engine()

    assert pool.state().engines[0].error is None
    assert pool.posts[0].failed_starts == 0


# --- engines that are lost ---


def test_generation_of_a_lost_engine_goes_on_elsewhere_with_its_tokens_and_a_fresh_lease() -> None:
    pool, (first, second) = serving(engines=2)
    pool.submit("g")
    pool.token(first, "g", 0)
    pool.token(first, "g", 1)

    pool.lose_engine(0)
    again = pool.dispatches(second)[0]
    pool.token(second, "g", 2)
    pool.finish(second, "g", tokens=3)

    assert again.token_ids == (0, 1)
    assert again.lease != pool.dispatches(first)[0].lease
    assert ids(pool.numbered("g")) == [1, 2, 3, 4]
    assert text(pool.numbered("g")) == "0 1 2 "
    assert len(pool.ends("g")) == 1


def test_generation_of_the_only_engine_waits_for_the_next_process() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)
    pool.lose_engine()
    assert (pool.state().running, pool.state().waiting) == (0, {MODEL: 1})

    again = pool.start_engine()

    assert pool.dispatches(again)[0].token_ids == (0,)
    assert pool.state().waiting == {}


def test_late_words_of_a_lost_engine_are_fenced_off() -> None:
    pool, (first, second) = serving(engines=2)
    pool.submit("g")
    old_lease = pool.dispatches(first)[0].lease
    pool.lose_engine(0)

    pool.event(first, "g", Delta(0, "wrong", (99,)), lease=old_lease)
    pool.event(second, "g", Delta(0, "wrong", (99,)), lease=old_lease)
    pool.event(second, "g", Finished("stop", Usage(1, 1)), lease=old_lease)
    pool.token(second, "g", 0)

    assert text(pool.numbered("g")) == "0 "
    assert pool.ends("g") == []


def test_lease_of_one_generation_says_nothing_for_another() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.submit("h")
    lease_of_g = pool.dispatches(engine)[0].lease

    pool.event(engine, "h", Delta(0, "wrong", (99,)), lease=lease_of_g)

    assert pool.numbered("g") == pool.numbered("h") == []


@pytest.mark.parametrize("position", [0, 2, 7])
def test_token_that_does_not_join_on_is_not_shown_and_the_generation_goes_on_from_the_last_good_one(
    position: int,
) -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)
    old_lease = pool.dispatches(engine)[0].lease

    pool.token(engine, "g", position)
    pool.event(engine, "g", Finished("stop", Usage(1, 9)), lease=old_lease)

    assert AbortLease("g", old_lease) in pool.told[engine]
    assert pool.dispatches(engine)[1].token_ids == (0,)
    pool.token(engine, "g", 1)
    pool.finish(engine, "g", tokens=2)
    assert text(pool.numbered("g")) == "0 1 "
    assert ids(pool.numbered("g")) == [1, 2, 3]


def test_engine_that_never_joins_on_fails_the_generation_in_the_end() -> None:
    pool, (engine,) = serving()
    pool.submit("g")

    for _ in range(2):
        pool.token(engine, "g", 5)

    assert [end.code for end in pool.ends("g")] == ["EngineLost"]
    assert (pool.state().running, pool.state().waiting) == (0, {})


def test_poison_fails_alone_and_the_innocents_of_the_same_engine_go_on() -> None:
    pool, (engine,) = serving(slots=3)
    for name in ("poison", "b", "c"):
        pool.submit(name)

    # An engine under which "poison" runs is lost before anything has made a token.
    for _ in range(10):
        if "poison" in pool.running(engine):
            pool.lose_engine()
            engine = pool.start_engine()
        for name in pool.running(engine):
            if name != "poison":
                pool.token(engine, name, 0)
                pool.finish(engine, name, tokens=1)

    assert [end.code for end in pool.ends("poison")] == ["EngineLost"]
    assert [end.finish_reason for end in pool.ends("b") + pool.ends("c")] == ["stop", "stop"]


def test_suspect_runs_apart_from_newcomers_until_it_makes_a_token() -> None:
    pool, (engine,) = serving(slots=3)
    pool.submit("suspect")
    pool.lose_engine()
    engine = pool.start_engine()

    pool.submit("new")
    assert list(pool.running(engine)) == ["suspect"]

    pool.token(engine, "suspect", 0)
    assert set(pool.running(engine)) == {"suspect", "new"}


def test_token_between_two_losses_clears_the_generation() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    for position in range(5):
        pool.token(engine, "g", position)
        pool.lose_engine()
        engine = pool.start_engine()

    assert pool.ends("g") == []
    assert pool.dispatches(engine)[0].token_ids == (0, 1, 2, 3, 4)


def test_failed_generation_ends_and_frees_its_place() -> None:
    pool, (engine,) = serving(slots=1)
    pool.submit("g")
    pool.submit("next")

    pool.event(engine, "g", Failed("OutOfMemory", "no memory"))

    assert pool.ends("g") == [Failed("OutOfMemory", "no memory")]
    assert "next" in pool.running(engine)


def test_queue_of_a_model_moves_on_while_its_other_engine_is_lost() -> None:
    pool, (_, second) = serving(engines=2, slots=1)
    for name in ("a", "b", "c"):
        pool.submit(name)
    pool.lose_engine(0)

    pool.finish(second, "b")

    assert [dispatch.generation_id for dispatch in pool.dispatches(second)] == ["b", "a"]
    assert pool.state().waiting == {MODEL: 1}


# --- engines of an earlier pool ---


def test_stranger_that_does_not_say_hello_is_told_the_epoch_and_to_drop_all() -> None:
    pool = Pool()

    pool.from_engine("3-1", StepEvents([LeaseEvent("g", 1, Delta(0, "a", (1,)))]))

    assert pool.told["3-1"] == [AskHello()]


def test_engine_of_an_earlier_pool_takes_the_vacant_post() -> None:
    pool = Pool()
    pool.submit("g")

    pool.from_engine("3-1", EngineHello(engine_id="3-1", pid=4242, model=MODEL))
    pool.beat("3-1")

    assert pool.keeper.watched == [4242]
    assert pool.told["3-1"][0] == EnginePing(())
    assert "g" in pool.running("3-1")
    assert pool.state().engines[0].pid == 4242


@pytest.mark.parametrize("model", [MODEL, "@no/such"])
def test_engine_that_nobody_has_a_post_for_is_told_to_stop(model: str) -> None:
    pool, _ = serving()

    pool.from_engine("3-1", EngineHello(engine_id="3-1", pid=4242, model=model))

    assert pool.told["3-1"] == [EngineStop()]
    assert pool.keeper.watched == []


def test_engine_that_has_ended_since_its_hello_does_not_take_the_post() -> None:
    pool = Pool()
    pool.submit("g")
    pool.keeper.dead_pids.add(4242)

    pool.from_engine("3-1", EngineHello(engine_id="3-1", pid=4242, model=MODEL))
    pool.beat("3-1")
    assert pool.dispatches("3-1") == []

    again = pool.start_engine()
    assert "g" in pool.running(again)


def test_ping_names_exactly_the_leases_of_the_engine() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.submit("h")
    pool.finish(engine, "g")

    pool.from_engine(engine, EngineHello(engine_id=engine, pid=5001, model=MODEL))

    leases = {dispatch.generation_id: dispatch.lease for dispatch in pool.dispatches(engine)}
    assert pool.told[engine][-1] == EnginePing((leases["h"],))


# --- probes, state ---


def test_probe_makes_a_silent_engine_produce_a_token_and_leaves_no_trace() -> None:
    pool, (engine,) = serving()
    assert pool.state().engines[0].seconds_since_token is None

    pool.state(probe=True)
    (dispatch,) = pool.dispatches(engine)
    pool.event(engine, dispatch.generation_id, Started(1, "cpu", "fp32"))
    pool.token(engine, dispatch.generation_id, 0)
    pool.finish(engine, dispatch.generation_id, tokens=1)
    pool.now += 1
    pool.submit("g")

    state = pool.state()
    assert dispatch.request.max_tokens == 1
    assert state.engines[0].seconds_since_token == pytest.approx(1)
    assert (state.running, state.waiting) == (1, {})
    assert isinstance(pool.attach(dispatch.generation_id, owner=""), Gone)


def test_probe_leaves_alone_the_engine_that_works_or_has_just_worked() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.state(probe=True)
    assert len(pool.dispatches(engine)) == 1

    pool.token(engine, "g", 0)
    pool.finish(engine, "g", tokens=1)
    pool.state(probe=True)
    assert len(pool.dispatches(engine)) == 1

    pool.now += PROBE_AFTER_SECONDS
    pool.state(probe=True)
    assert len(pool.dispatches(engine)) == 2


def test_probe_of_a_lost_engine_does_not_come_back() -> None:
    pool, (engine,) = serving()
    pool.state(probe=True)
    pool.lose_engine()

    engine = pool.start_engine()

    assert pool.dispatches(engine) == []
    assert (pool.state().running, pool.state().waiting) == (0, {})


def test_probe_whose_token_does_not_join_on_ends() -> None:
    pool, (engine,) = serving()
    pool.state(probe=True)

    pool.token(engine, "probe", 3)

    assert (pool.state().running, pool.state().waiting) == (0, {})


def test_probe_that_fails_frees_its_place_and_no_client_pays_for_it() -> None:
    pool, (engine,) = serving(slots=1, client_limit=1)
    pool.state(probe=True)

    pool.event(engine, "probe", Failed("OutOfMemory", "no memory"))
    pool.submit("g")

    assert "g" in pool.running(engine)


def test_state_counts_every_process_and_generation() -> None:
    pool, _ = serving(slots=1)
    pool.hello()
    pool.hello(OTHER_WEB)
    pool.submit("g")
    pool.submit("h")

    state = pool.state()

    assert isinstance(state, PoolState)
    assert (state.epoch, state.running, state.waiting) == (EPOCH, 1, {MODEL: 1})
    assert [(engine.state, engine.running) for engine in state.engines] == [("busy", 1)]
    assert len(state.web_processes) == 2


# --- nothing that comes in ends the loop ---


@pytest.mark.parametrize(
    "message",
    [
        StepEvents([LeaseEvent("known", -5, Delta(0, "a", (1,)))]),
        StepEvents([LeaseEvent("unknown", 2**63, Finished("stop", Usage(-1, -1)))]),
        LoadFailed("\x00é"),
        EngineHello(engine_id="another", pid=1, model="another"),
        EngineHeartbeat(
            load_fraction=float("nan"),
            is_ready=True,
            device="\n",
            precision="",
            capacity=-(2**63),
            memory_bytes=-1,
            turn_age=-1.0,
        ),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_known", [True, False])
def test_strange_message_of_an_engine_is_taken_in_stride(message: object, *, is_known: bool) -> None:
    pool, (engine,) = serving()
    pool.submit("known")

    pool.from_engine(engine if is_known else "3-é", message)
    pool.wait(0.25)

    pool.token(engine, "known", 0)
    assert ids(pool.numbered("known")) == [1]
