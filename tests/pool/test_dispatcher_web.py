"""What web processes ask of the dispatcher: submit, attach, abort, leave."""

import pytest

from tests.pool.driving import COLD, MODEL, OTHER_WEB, OWNER, WEB, Pool, entry, ids, serving, submit, text
from webapp.pool.outbox import Turn
from webapp.wire.generation import Delta, Finished, Queued, Started, Usage
from webapp.wire.messages import (
    AbortLease,
    Accepted,
    Attach,
    Detach,
    DropReaders,
    Ended,
    EnginePing,
    Gone,
    LeaseEvent,
    ReadersDropped,
    Refused,
    StepEvents,
    Submit,
)

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

    assert isinstance(answer, Refused) and answer.code == "ModelNotFound" and answer.retry_after is None
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


@pytest.mark.parametrize(("queue_length", "reject_if_busy"), [(0, False), (5, True)])
def test_first_who_asks_for_a_model_that_is_not_loaded_waits_for_it_whatever_the_line(
    *, queue_length: int, reject_if_busy: bool
) -> None:
    pool = Pool(entry(COLD, is_loaded_at_start=False, slots=1), queue_length=queue_length)

    first = pool.submit("g", model=COLD, reject_if_busy=reject_if_busy)
    assert pool.start_wanted(is_ready=False) == [COLD]
    while_it_loads = pool.submit("h", model=COLD, reject_if_busy=reject_if_busy)
    pool.beat(pool.engine_of(COLD).engine_id)
    while_it_runs = pool.submit("i", model=COLD, reject_if_busy=reject_if_busy)

    assert isinstance(first, Accepted)
    assert [refused.code for refused in (while_it_loads, while_it_runs)] == ["PoolOverloaded"] * 2
    assert "g" in pool.running(pool.engine_of(COLD).engine_id)


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


def test_dropping_readers_is_told_to_all_who_read_and_to_nobody_else() -> None:
    pool, (engine,) = serving()
    pool.submit("g", grace_seconds=15)
    pool.attach("g", reader=OTHER_WEB)
    pool.submit("another", reader=b"web-3")

    assert pool.ask(DropReaders(ask=9, generation_id="g", owner=OWNER)) == Accepted(ask=9)

    told = [reader for reader, heard in pool.heard.items() if ReadersDropped("g") in heard]
    assert sorted(told) == [WEB, OTHER_WEB]
    assert set(pool.running(engine)) == {"g", "another"}


def test_generation_whose_readers_were_dropped_has_its_grace_and_no_more() -> None:
    pool, (engine,) = serving()
    pool.submit("g", grace_seconds=15)
    pool.from_web(DropReaders(ask=9, generation_id="g", owner=OWNER))
    pool.detach("g")

    pool.wait(14)
    pool.beat(engine)
    assert list(pool.running(engine)) == ["g"]
    pool.wait(2)

    assert pool.running(engine) == {}


def test_readers_of_somebody_elses_generation_stay() -> None:
    pool, _ = serving()
    pool.submit("g")

    assert pool.ask(DropReaders(ask=9, generation_id="g", owner="another")) == Gone(ask=9)
    assert pool.ask(DropReaders(ask=10, generation_id="unknown", owner=OWNER)) == Gone(ask=10)
    assert ReadersDropped("g") not in pool.heard[WEB]


def test_what_the_loss_of_one_web_process_brings_reaches_the_others() -> None:
    # given: one waits behind the other, and both web processes have messages to come
    pool, (engine,) = serving(slots=1)
    pool.submit("g", grace_seconds=0)
    pool.submit("h", reader=OTHER_WEB)
    pool.dispatcher.from_engine(
        engine, StepEvents([LeaseEvent("g", pool.dispatches(engine)[0].lease, Delta(0, "a", (1,)))]), pool.now
    )
    assert set(pool.dispatcher.outbox.take().to_web) == {WEB}

    # when: sending to the first fails
    pool.dispatcher.lose_web_process(WEB, pool.now)

    # then: the other generation has the place, and its engine has been told
    turn = pool.dispatcher.outbox.take()
    assert [type(message).__name__ for _, message in turn.to_engines] == ["AbortLease", "Dispatch"]


# --- one message for each web process ---


def test_one_step_makes_one_list_for_each_web_process() -> None:
    pool, (engine,) = serving(slots=8)
    for number in range(4):
        pool.submit(f"g{number}", reader=WEB if number % 2 else OTHER_WEB)
    rows = [LeaseEvent(d.generation_id, d.lease, Delta(0, "a", (1,))) for d in pool.dispatches(engine)]

    pool.dispatcher.from_engine(engine, StepEvents(rows), pool.now)
    turn = pool.dispatcher.outbox.take()

    assert {reader: len(messages) for reader, messages in turn.to_web.items()} == {WEB: 2, OTHER_WEB: 2}
    assert turn.to_engines == []
    assert pool.dispatcher.outbox.take() == Turn()


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
