"""The pool's decisions, one story each: the real dispatcher, with the test as clock, web processes and engines."""

import pytest

from tests.pool.driving import COLD, EPOCH, MODEL, OWNER, WEB, Pool, entry, ids, submit, text
from webapp.pool import generation_store
from webapp.pool.dispatcher import POISON_AFTER, PROBE_AFTER_SECONDS
from webapp.pool.generation_store import KEPT_SECONDS
from webapp.pool.readers import WEB_LATE_SECONDS
from webapp.pool.roster import HEARTBEAT_LATE_SECONDS, HOPELESS_AFTER
from webapp.wire.generation import Delta, Failed, Finished, Loading, Queued, Started, Usage
from webapp.wire.messages import (
    AbortLease,
    Accepted,
    Attach,
    Detach,
    Ended,
    EngineHeartbeat,
    EngineHello,
    EnginePing,
    EngineStop,
    Gone,
    LeaseEvent,
    LoadFailed,
    PoolHello,
    PoolState,
    Refused,
    StepEvents,
    Submit,
)

OTHER_WEB = b"web-2"


def serving(*, engines: int = 1, slots: int = 2, **limits: int) -> tuple[Pool, list[str]]:
    """A pool whose engines are ready, and their ids."""
    pool = Pool(entry(slots=slots, engines=engines), **limits)
    return pool, [pool.start_engine(post) for post in range(engines)]


# --- submit ---


def test_accepted_generation_goes_to_the_engine_and_its_events_to_the_reader() -> None:
    pool, (engine,) = serving()

    assert pool.submit("g", ask=77) == Accepted(ask=77)
    pool.event(engine, "g", Started(3, "cpu", "fp32"))
    pool.token(engine, "g", 0)
    pool.token(engine, "g", 1)
    pool.finish(engine, "g", tokens=2)

    (dispatch,) = pool.dispatches(engine)
    assert (dispatch.generation_id, dispatch.request, dispatch.token_ids) == ("g", submit("g").request, ())
    assert Started(3, "cpu", "fp32") in pool.statuses("g")
    assert [type(event) for _, event in pool.numbered("g")] == [Delta, Delta, Finished]
    assert ids(pool.numbered("g")) == [1, 2, 3]
    assert text(pool.numbered("g")) == "0 1 "


def test_end_carries_the_timings_that_the_pool_measured() -> None:
    pool, (engine,) = serving(slots=1)
    pool.submit("first")
    pool.submit("g")
    pool.now += 2
    pool.finish(engine, "first")
    pool.now += 3
    pool.token(engine, "g", 0)
    pool.now += 4
    pool.finish(engine, "g", tokens=1)

    (end,) = pool.ends("g")
    assert end.timings.queue_time == pytest.approx(2)
    assert end.timings.time_to_first_token == pytest.approx(5)
    assert end.timings.decode_time == pytest.approx(4)


def test_model_that_the_catalogue_does_not_have_is_refused() -> None:
    pool, _ = serving()

    answer = pool.submit("g", model="@no/such")

    assert isinstance(answer, Refused) and answer.code == "ModelNotFound"
    assert isinstance(pool.attach("g"), Gone)


def test_full_queue_is_refused_and_leaves_no_trace() -> None:
    pool, _ = serving(slots=1, queue_length=1)
    pool.submit("running")
    pool.submit("waiting")

    answer = pool.submit("g")

    assert isinstance(answer, Refused) and answer.code == "PoolOverloaded" and answer.retry_after >= 1
    assert isinstance(pool.attach("g"), Gone)
    assert (pool.state().running, pool.state().waiting) == (1, {MODEL: 1})


def test_client_at_its_limit_is_refused_and_others_are_not() -> None:
    pool, _ = serving(client_limit=1)
    pool.submit("g", client="a")

    refused, accepted = pool.submit("h", client="a"), pool.submit("i", client="b")

    assert isinstance(refused, Refused) and refused.code == "ClientLimitReached"
    assert isinstance(accepted, Accepted)


def test_reject_if_busy_is_refused_where_it_would_have_to_wait() -> None:
    pool, _ = serving(slots=1)

    first, second = pool.submit("g", reject_if_busy=True), pool.submit("h", reject_if_busy=True)

    assert isinstance(first, Accepted)
    assert isinstance(second, Refused) and second.code == "PoolOverloaded"


def test_submitting_twice_runs_once() -> None:
    pool, (engine,) = serving()

    first, second = pool.submit("g"), pool.submit("g", ask=9)

    assert (type(first), second) == (Accepted, Accepted(ask=9))
    assert len(pool.dispatches(engine)) == 1
    assert pool.state().running == 1


def test_submitting_twice_replays_to_the_new_reader() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)

    pool.submit("g", reader=OTHER_WEB)
    pool.token(engine, "g", 1)

    assert ids(pool.numbered("g", OTHER_WEB)) == [1, 2]


def test_generation_id_of_another_owner_is_refused_and_not_read() -> None:
    pool, (engine,) = serving()
    pool.submit("g")

    answer = pool.submit("g", owner="thief", reader=OTHER_WEB)
    pool.token(engine, "g", 0)

    assert isinstance(answer, Refused)
    assert pool.published("g", OTHER_WEB) == []


def test_generation_goes_to_the_engine_with_most_room() -> None:
    pool, (first, second) = serving(engines=2)

    for name in ("a", "b", "c", "d"):
        pool.submit(name)

    assert len(pool.dispatches(first)) == len(pool.dispatches(second)) == 2


def test_waiting_generations_learn_their_places_as_the_line_moves() -> None:
    pool, (engine,) = serving(slots=1)
    for name in ("a", "b", "c"):
        pool.submit(name)
    assert (pool.statuses("b"), pool.statuses("c")) == ([Queued(1)], [Queued(2)])

    pool.finish(engine, "a")

    assert pool.statuses("c") == [Queued(2), Queued(1)]
    assert [dispatch.generation_id for dispatch in pool.dispatches(engine)] == ["a", "b"]


def test_freed_place_goes_to_the_other_client() -> None:
    pool, (engine,) = serving(slots=1)
    for name in ("a1", "a2", "a3", "b1"):
        pool.submit(name, client=name[0])

    pool.finish(engine, "a1")

    assert pool.dispatches(engine)[-1].generation_id == "b1"


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
    assert pool.dispatcher.is_wanted(cold)

    pool.abort("g")
    assert not pool.dispatcher.is_wanted(cold)
    assert pool.dispatcher.is_wanted(pool.posts[0])


def test_model_that_never_loads_fails_those_who_wait() -> None:
    pool = Pool()
    pool.submit("g")
    pool.submit("h")

    for _ in range(HOPELESS_AFTER):
        assert pool.ends("g") == []
        pool.fail_to_load()

    for name in ("g", "h"):
        (end,) = pool.ends(name)
        assert isinstance(end, Failed) and end.code == "ModelUnavailable" and "no weights" in end.message
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


def test_engine_that_gets_ready_in_the_end_has_no_error_any_more() -> None:
    pool = Pool()
    pool.fail_to_load()
    assert pool.state().engines[0].error == "no weights"

    pool.start_engine()

    assert pool.state().engines[0].error is None
    assert pool.posts[0].failed_starts == 0


# --- attach ---


def test_reader_who_attaches_late_gets_all_and_then_what_comes_without_a_gap() -> None:
    pool, (engine,) = serving()
    pool.submit("g", attach=False, grace_seconds=60)
    pool.token(engine, "g", 0)
    pool.token(engine, "g", 1)

    assert isinstance(pool.attach("g"), Accepted)
    pool.token(engine, "g", 2)
    pool.finish(engine, "g", tokens=3)

    assert ids(pool.numbered("g")) == [1, 2, 3, 4]


def test_resume_replays_only_later_events() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    for position in range(3):
        pool.token(engine, "g", position)

    pool.attach("g", after=2, reader=OTHER_WEB)
    pool.finish(engine, "g", tokens=3)

    assert ids(pool.numbered("g", OTHER_WEB)) == [3, 4]


def test_answer_comes_before_the_events_it_announces() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)

    pool.attach("g", reader=OTHER_WEB)

    assert [type(message).__name__ for message in pool.heard[OTHER_WEB]] == ["Accepted", "Published"]


def test_ended_generation_can_be_read_again() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)
    pool.finish(engine, "g", tokens=1)

    assert isinstance(pool.attach("g", after=1, reader=OTHER_WEB), Accepted)
    assert ids(pool.numbered("g", OTHER_WEB)) == [2]
    assert pool.statuses("g", OTHER_WEB) == []


def test_reader_who_has_seen_the_end_is_told_so() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.finish(engine, "g")

    assert pool.attach("g", after=1) == Ended(ask=2)


def test_reader_who_has_seen_all_so_far_waits_for_more() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)

    pool.attach("g", after=1, reader=OTHER_WEB)
    assert pool.numbered("g", OTHER_WEB) == []
    pool.token(engine, "g", 1)

    assert ids(pool.numbered("g", OTHER_WEB)) == [2]


@pytest.mark.parametrize("after", [-1, 2, 10**15])
def test_event_id_that_the_generation_never_had_is_gone(after: int) -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)

    assert pool.attach("g", after=after, reader=OTHER_WEB) == Gone(ask=2, is_known=True)
    assert pool.published("g", OTHER_WEB) == []


@pytest.mark.parametrize("owner", ["thief", "", "ówner", "\x00", OWNER + " "])
def test_somebody_elses_generation_looks_like_none(owner: str) -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)

    assert pool.attach("g", owner=owner, reader=OTHER_WEB) == Gone(ask=2)
    assert pool.abort("g", owner=owner, reader=OTHER_WEB) == Gone(ask=3)
    assert pool.published("g", OTHER_WEB) == []
    assert pool.ends("g") == []


def test_owner_outside_ascii_is_an_owner_like_any_other() -> None:
    pool, _ = serving()
    pool.submit("g", owner="Zoë")

    assert isinstance(pool.attach("g", owner="Zoë"), Accepted)


def test_unknown_generation_is_gone() -> None:
    pool, _ = serving()

    assert pool.attach("never") == Gone(ask=2)
    assert pool.abort("never") == Gone(ask=3)


# --- abort ---


def test_abort_of_a_running_generation_tells_the_engine_and_the_reader() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)
    lease = pool.dispatches(engine)[0].lease

    assert isinstance(pool.abort("g"), Accepted)

    assert AbortLease("g", lease) in pool.told[engine]
    assert pool.numbered("g")[-1] == (2, pool.ends("g")[0])
    assert pool.ends("g")[0].finish_reason == "abort"
    assert pool.ends("g")[0].usage == Usage(0, 1)
    assert pool.state().running == 0


def test_what_the_engine_still_says_after_an_abort_is_fenced_off() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.abort("g")

    pool.token(engine, "g", 0)
    pool.finish(engine, "g", tokens=1)

    assert ids(pool.numbered("g")) == [1]


def test_abort_of_a_waiting_generation_leaves_the_running_one_alone() -> None:
    pool, (engine,) = serving(slots=1)
    pool.submit("running")
    pool.submit("waiting")
    pool.submit("last")

    pool.abort("waiting")

    assert pool.ends("waiting")[0].finish_reason == "abort"
    assert pool.ends("running") == []
    assert not any(isinstance(message, AbortLease) for message in pool.told[engine])
    assert pool.statuses("last")[-1] == Queued(1)
    assert pool.state().waiting == {MODEL: 1}


def test_abort_gives_the_place_to_the_next_after_the_engine_has_been_told() -> None:
    pool, (engine,) = serving(slots=1)
    pool.submit("g")
    pool.submit("next")

    pool.abort("g")

    kinds = [type(message).__name__ for message in pool.told[engine] if not isinstance(message, EnginePing)]
    assert kinds == ["Dispatch", "AbortLease", "Dispatch"]


def test_abort_is_idempotent() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.abort("g")

    assert isinstance(pool.abort("g"), Accepted)

    assert len(pool.ends("g")) == 1
    assert len([message for message in pool.told[engine] if isinstance(message, AbortLease)]) == 1


def test_abort_after_the_end_changes_nothing() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.finish(engine, "g")

    assert isinstance(pool.abort("g"), Accepted)

    assert [end.finish_reason for end in pool.ends("g")] == ["stop"]


# --- readers who leave ---


def test_generation_without_grace_is_aborted_when_its_reader_leaves() -> None:
    pool, (engine,) = serving()
    pool.submit("g", grace_seconds=0)

    pool.detach("g")

    assert any(isinstance(message, AbortLease) for message in pool.told[engine])
    assert pool.state().running == 0


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


def test_one_of_two_readers_may_leave() -> None:
    pool, (engine,) = serving()
    pool.submit("g", grace_seconds=0)
    pool.attach("g", reader=OTHER_WEB)

    pool.detach("g")
    pool.token(engine, "g", 0)

    assert ids(pool.numbered("g", OTHER_WEB)) == [1]
    assert pool.numbered("g") == []


def test_detach_of_a_stranger_or_of_nothing_changes_nothing() -> None:
    pool, (engine,) = serving()
    pool.submit("g", grace_seconds=0)

    pool.detach("g", reader=OTHER_WEB)
    pool.detach("never")
    pool.token(engine, "g", 0)

    assert ids(pool.numbered("g")) == [1]


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


def test_what_the_loss_of_one_web_process_brings_reaches_the_others() -> None:
    # given: one waits behind the other, and both web processes have messages to come
    pool, (engine,) = serving(slots=1)
    pool.submit("g", grace_seconds=0)
    pool.submit("h", reader=OTHER_WEB)
    pool.dispatcher.from_engine(
        engine, StepEvents([LeaseEvent("g", pool.dispatches(engine)[0].lease, Delta(0, "a", (1,)))]), pool.now
    )
    to_web, _ = pool.dispatcher.outbox.take()
    assert set(to_web) == {WEB}

    # when: sending to the first fails
    pool.dispatcher.lose_web_process(WEB, pool.now)

    # then: the other generation has the place, and its engine has been told
    _, to_engines = pool.dispatcher.outbox.take()
    assert [type(message).__name__ for _, message in to_engines] == ["AbortLease", "Dispatch"]


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

    for _ in range(POISON_AFTER):
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

    assert list(pool.running(second)) == ["b", "a"] or "a" in pool.running(second)


# --- engines of an earlier pool ---


def test_stranger_that_does_not_say_hello_is_told_the_epoch_and_to_drop_all() -> None:
    pool = Pool()

    pool.from_engine("3-1", StepEvents([LeaseEvent("g", 1, Delta(0, "a", (1,)))]))

    assert pool.told["3-1"] == [EnginePing(EPOCH, ())]


def test_engine_of_an_earlier_pool_takes_the_vacant_post() -> None:
    pool = Pool()
    pool.submit("g")

    pool.from_engine("3-1", EngineHello(engine_id="3-1", pid=4242, model=MODEL))
    pool.beat("3-1")

    assert pool.keeper.watched == [4242]
    assert pool.told["3-1"][0] == EnginePing(EPOCH, ())
    assert "g" in pool.running("3-1")
    assert pool.state().engines[0].pid == 4242


def test_adopted_engine_has_time_to_speak_before_it_hangs() -> None:
    pool = Pool()
    pool.now += 1000
    pool.from_engine("3-1", EngineHello(engine_id="3-1", pid=4242, model=MODEL))

    pool.wait(1)

    assert pool.keeper.killed == []


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
    assert pool.told[engine][-1] == EnginePing(EPOCH, (leases["h"],))


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


# --- bounds ---


def test_one_step_makes_one_list_for_each_web_process() -> None:
    pool, (engine,) = serving(slots=8)
    for number in range(4):
        pool.submit(f"g{number}", reader=WEB if number % 2 else OTHER_WEB)
    rows = [LeaseEvent(d.generation_id, d.lease, Delta(0, "a", (1,))) for d in pool.dispatches(engine)]

    pool.dispatcher.from_engine(engine, StepEvents(rows), pool.now)
    to_web, to_engines = pool.dispatcher.outbox.take()

    assert {reader: len(messages) for reader, messages in to_web.items()} == {WEB: 2, OTHER_WEB: 2}
    assert to_engines == []
    assert pool.dispatcher.outbox.take() == ({}, [])


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


# --- nothing that comes in ends the loop ---


@pytest.mark.parametrize(
    "message",
    [
        Submit(ask=0, generation_id="", owner="", client="", request=submit("x", model="").request, grace_seconds=-1.0),
        submit("g", grace_seconds=float("nan"), attach=False),
        Attach(ask=-1, generation_id="\x00", owner="é", after=-(2**63)),
        Attach(ask=2**63, generation_id="known", owner="é", after=2**63),
        Detach(""),
    ],
    ids=repr,
)
def test_strange_message_of_a_web_process_is_taken_in_stride(message: object) -> None:
    pool, (engine,) = serving()
    pool.submit("known")

    pool.from_web(message)
    pool.wait(0.25)

    pool.token(engine, "known", 0)
    assert ids(pool.numbered("known")) == [1]


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
