"""Who is loaded: engines that come with the first who waits and go when idle, within the memory budget."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pool.driving import MODEL, Pool, entry
from webapp.pool.roster import HOPELESS_AFTER
from webapp.wire.generation import Failed, Loading, Queued
from webapp.wire.messages import Accepted, EngineHello, EnginePing, EngineStop, LoadFailed, Refused

A, B, C = "@test/a", "@test/b", "@test/c"
GB = 10**9


def pool_of(
    *models: str, budget: int | None = 4, memory: str = "3 GB", slots: int = 2, idle: float = 0.0, engines: int = 1
) -> Pool:
    """A pool whose models all load on demand; `budget` in GB."""
    entries = [entry(name, is_loaded_at_start=False, memory=memory, slots=slots, engines=engines) for name in models]
    return Pool(*entries, memory_budget=None if budget is None else budget * GB, idle_unload_seconds=idle)


def load(pool: Pool, model: str, name: str | None = None) -> str:
    """Somebody's first generation of this model loads it, and is over unless it has a name; the engine."""
    pool.submit(name or f"first of {model}", model=model, client=model, attach=False, grace_seconds=1e9)
    assert pool.start_wanted() == [model]
    engine_id = pool.engine_of(model).engine_id
    if not name:
        pool.finish(engine_id, f"first of {model}")
    return engine_id


def finish_and_expect_only_who_came_before(pool: Pool, engine_id: str, *, later: str) -> None:
    """The engine of A finishes "running", takes "before", and is then unloaded for B without having taken `later`."""
    pool.finish(engine_id, "running")
    pool.wait(0.25)
    assert "before" in pool.running(engine_id)
    pool.finish(engine_id, "before")
    pool.wait(0.25)
    assert later not in pool.running(engine_id)
    assert pool.end_stopped() == [A]
    assert pool.start_wanted() == [B]


def is_told_to_stop(pool: Pool, engine_id: str) -> bool:
    return EngineStop() in pool.told[engine_id]


# --- at first use ---


def test_model_loads_for_the_first_who_asks_and_they_see_it() -> None:
    pool = pool_of(A)

    assert isinstance(pool.submit("g", model=A), Accepted)
    assert pool.statuses("g") == [Loading(0.0)]
    assert pool.start_wanted(is_ready=False) == [A]
    engine = pool.engine_of(A).engine_id
    pool.beat(engine, is_ready=False, load_fraction=0.4)
    pool.beat(engine, is_ready=False, load_fraction=0.8)
    pool.beat(engine)

    assert pool.statuses("g") == [Loading(0.0), Loading(0.4), Loading(0.8)]
    assert "g" in pool.running(engine)


def test_nothing_is_unloaded_for_what_fits_beside() -> None:
    pool = pool_of(A, B, budget=6)
    first = load(pool, A)

    load(pool, B)
    pool.wait(0.25)

    assert not is_told_to_stop(pool, first)
    assert [engine.state for engine in pool.state().engines] == ["idle", "idle"]


def test_without_a_budget_everything_fits() -> None:
    pool = pool_of(A, B, C, budget=None)

    for model in (A, B, C):
        load(pool, model)

    assert [engine.state for engine in pool.state().engines] == ["idle"] * 3


@pytest.mark.parametrize(("budget", "started"), [(5, 1), (6, 2)])
def test_second_engine_of_a_model_starts_only_where_memory_is_free(budget: int, started: int) -> None:
    pool = pool_of(A, budget=budget, engines=2)

    pool.submit("a", model=A)

    assert pool.start_wanted() == [A] * started
    pool.submit("b", model=A)
    pool.submit("c", model=A)
    pool.wait(0.25)
    assert pool.start_wanted() == []
    assert not any(engine.is_draining for engine in pool.posts)


def test_one_of_two_engines_makes_room() -> None:
    pool = pool_of(A, B, budget=7, engines=2)
    pool.submit("a", model=A)
    pool.start_wanted()

    pool.submit("b", model=B)

    assert pool.end_stopped() == [A]
    assert pool.engine_of(A).is_started != pool.posts[1].is_started
    assert pool.start_wanted() == [B]


# --- making room ---


def test_engine_that_has_been_idle_longest_makes_room() -> None:
    pool = pool_of(A, B, C, budget=7)
    old, young = load(pool, A), load(pool, B)
    pool.now += 1
    pool.submit("again", model=A)
    pool.finish(old, "again")

    pool.submit("g", model=C)

    assert (is_told_to_stop(pool, old), is_told_to_stop(pool, young)) == (False, True)
    assert pool.statuses("g") == [Queued(1)]
    assert pool.start_wanted() == []
    assert pool.end_stopped() == [B]
    assert pool.start_wanted() == [C]
    assert "g" in pool.running(pool.engine_of(C).engine_id)


def test_engine_that_runs_something_finishes_it_and_takes_nothing_new() -> None:
    pool = pool_of(A, B)
    engine = load(pool, A, "running")
    pool.submit("b", model=B)
    pool.now += 1

    pool.submit("a", model=A)

    assert pool.statuses("a") == [Queued(1)]
    assert pool.engine_of(A).state_name == "draining"
    assert list(pool.running(engine)) == ["running"]
    pool.wait(0.25)
    assert not is_told_to_stop(pool, engine)

    pool.finish(engine, "running")
    pool.wait(0.25)

    assert pool.end_stopped() == [A]
    assert pool.start_wanted() == [B]
    assert "b" in pool.running(pool.engine_of(B).engine_id)


def test_those_who_came_before_are_served_before_their_engine_goes() -> None:
    pool = pool_of(A, B, slots=1)
    engine = load(pool, A, "running")
    pool.submit("before", model=A)
    pool.now += 1
    pool.submit("b", model=B)
    pool.now += 1
    pool.submit("after", model=A)

    finish_and_expect_only_who_came_before(pool, engine, later="after")


def test_engine_that_became_idle_goes_in_place_of_one_that_still_finishes_a_long_answer() -> None:
    pool = pool_of(A, B, C, budget=6)
    long, short = load(pool, A, "long"), load(pool, B, "short")
    pool.submit("c", model=C)
    pool.now += 1
    pool.submit("again", model=A)
    assert (pool.engine_of(A).state_name, pool.statuses("again")) == ("draining", [Queued(1)])

    pool.finish(short, "short")
    pool.wait(0.25)

    # The former victim takes new ones again.
    assert (is_told_to_stop(pool, long), is_told_to_stop(pool, short)) == (False, True)
    assert set(pool.running(long)) == {"long", "again"}
    pool.end_stopped()
    assert pool.start_wanted() == [C]


def test_newcomers_of_other_clients_do_not_go_before_one_who_waits_for_memory() -> None:
    pool = pool_of(A, B, slots=1)
    engine = load(pool, A, "running")
    pool.submit("before", model=A, client=A)
    pool.now += 1
    pool.submit("b", model=B)
    pool.now += 1
    # Its client has not run anything: it is the next in line of its model.
    pool.submit("newcomer", model=A, client="newcomer")

    finish_and_expect_only_who_came_before(pool, engine, later="newcomer")


def test_newcomers_are_taken_again_where_whoever_wanted_the_memory_gives_up() -> None:
    pool = pool_of(A, B, slots=1)
    engine = load(pool, A, "running")
    pool.submit("before", model=A, client=A)
    pool.now += 1
    pool.submit("b", model=B)
    pool.now += 1
    pool.submit("newcomer", model=A, client="newcomer")

    pool.abort("b")
    pool.wait(0.25)
    pool.finish(engine, "running")

    assert "newcomer" in pool.running(engine)


def test_engine_is_not_unloaded_before_it_has_served_those_it_was_loaded_for() -> None:
    pool = pool_of(A, B)
    engine = load(pool, A, "a")
    pool.submit("b", model=B)
    pool.finish(engine, "a")
    pool.wait(0.25)
    pool.end_stopped()

    # B loads; somebody waits for A meanwhile.
    assert pool.start_wanted(is_ready=False) == [B]
    pool.submit("a2", model=A)
    pool.wait(0.25)
    other = pool.engine_of(B).engine_id
    assert (pool.keeper.killed, is_told_to_stop(pool, other)) == ([], False)

    pool.beat(other)
    assert "b" in pool.running(other)


def test_engine_serves_at_least_as_long_as_it_has_loaded() -> None:
    pool = pool_of(A, B)
    pool.submit("a", model=A, attach=False, grace_seconds=1e9)
    pool.start_wanted(is_ready=False)
    engine = pool.engine_of(A)
    pool.now += 20
    pool.beat(engine.engine_id)
    pool.submit("b", model=B, attach=False, grace_seconds=1e9)

    pool.now += 19
    pool.beat(engine.engine_id)
    pool.wait(0)
    assert not engine.is_draining

    pool.now += 1
    pool.beat(engine.engine_id)
    pool.wait(0)
    assert engine.is_draining


def test_engine_stays_where_whoever_wanted_its_memory_gives_up() -> None:
    pool = pool_of(A, B)
    engine = load(pool, A, "running")
    pool.submit("b", model=B)
    pool.submit("a", model=A)
    assert "a" not in pool.running(engine)

    pool.abort("b")
    pool.wait(0.25)

    assert "a" in pool.running(engine)
    assert pool.engine_of(A).state_name == "busy"


def test_loading_engine_that_nobody_waits_for_any_more_makes_room_at_once() -> None:
    pool = pool_of(A, B)
    pool.submit("a", model=A)
    pool.start_wanted(is_ready=False)
    pool.abort("a")

    pool.submit("b", model=B)

    assert pool.keeper.killed == [pool.engine_of(A).engine_id]
    pool.end_stopped()
    assert pool.start_wanted() == [B]


def test_nobody_behind_takes_the_memory_that_the_first_waits_for() -> None:
    pool = Pool(
        entry(A, is_loaded_at_start=False, memory="2 GB"),
        entry(B, is_loaded_at_start=False, memory="3 GB"),
        entry(C, is_loaded_at_start=False, memory="1 GB"),
        memory_budget=4 * GB,
    )
    engine = load(pool, A, "a")
    pool.submit("b", model=B)
    pool.now += 1

    pool.submit("c", model=C)
    assert pool.start_wanted() == []
    assert pool.statuses("c") == [Queued(1)]

    pool.finish(engine, "a")
    pool.wait(0.25)
    pool.end_stopped()
    assert pool.start_wanted() == [B, C]


def test_lost_engine_of_the_start_is_no_matter_of_memory_for_those_who_wait_for_it() -> None:
    pool = Pool(
        entry(MODEL, memory="1 GB"),
        entry(A, is_loaded_at_start=False, memory="3 GB"),
        entry(B, is_loaded_at_start=False, memory="3 GB"),
        memory_budget=4 * GB,
    )
    pool.start_engine()
    load(pool, A, "a")
    pool.submit("b", model=B)
    pool.lose_engine()
    pool.now += 1

    pool.submit("g")

    assert (pool.statuses("b"), pool.statuses("g")) == ([Queued(1)], [Loading(0.0)])
    assert pool.start_wanted() == [MODEL]
    assert pool.ends("g") == []


def test_engine_that_has_grown_past_the_budget_makes_idle_ones_go() -> None:
    pool = pool_of(A, B, budget=6)
    busy, idle = load(pool, A, "running"), load(pool, B)
    pool.keeper.resident = {busy: 3 * GB, idle: GB}
    pool.wait(0.25)
    assert not is_told_to_stop(pool, idle)

    pool.keeper.resident[busy] = 4 * GB
    pool.wait(0.25)

    assert (is_told_to_stop(pool, busy), is_told_to_stop(pool, idle)) == (False, True)
    assert pool.state().engines[0].taken_bytes == 4 * GB


def test_only_engine_that_has_grown_past_the_budget_stays_until_somebody_wants_its_memory() -> None:
    pool = pool_of(A, B)
    engine = load(pool, A)
    pool.keeper.resident = {engine: 5 * GB}

    pool.wait(0.25)
    assert not is_told_to_stop(pool, engine)

    pool.submit("b", model=B)
    assert is_told_to_stop(pool, engine)


# --- what never loads ---


def fail_to_load_for(pool: Pool, model: str) -> None:
    """Somebody waits for the model until its starts have failed too often; others go for it."""
    pool.submit(f"hopeless {pool.now}", model=model)
    for _ in range(HOPELESS_AFTER):
        pool.now = max(pool.now, pool.engine_of(model).start_due_at)
        pool.wait(0)
        pool.end_stopped()
        assert pool.start_wanted(is_ready=False) == [model]
        post = pool.posts.index(pool.engine_of(model))
        pool.from_engine(pool.engine_of(model).engine_id, LoadFailed("no weights"))
        pool.lose_engine(post)


def test_model_that_never_loads_unloads_nobody_any_more() -> None:
    pool = pool_of(A, B, budget=4)
    load(pool, A)
    fail_to_load_for(pool, B)
    pool.submit("again", model=A)
    pool.start_wanted()
    engine = pool.engine_of(A)
    pool.finish(engine.engine_id, "again")

    pool.now = pool.engine_of(B).start_due_at
    pool.beat(engine.engine_id)
    answer = pool.submit("g", model=B)
    pool.wait(0.25)

    assert isinstance(answer, Refused) and answer.code == "ModelUnavailable" and "cannot be loaded" in answer.message
    assert (engine.state_name, pool.start_wanted()) == ("idle", [])


def test_model_that_has_never_loaded_is_tried_again_where_memory_is_free() -> None:
    pool = pool_of(A, B, budget=4)
    fail_to_load_for(pool, B)

    pool.now = pool.engine_of(B).start_due_at

    assert isinstance(pool.submit("g", model=B), Accepted)
    assert pool.start_wanted() == [B]


def test_those_who_wait_for_a_failing_model_learn_where_its_memory_is_taken_meanwhile() -> None:
    pool = pool_of(A, B, budget=4)
    fail_to_load_for(pool, B)
    pool.now = pool.engine_of(B).start_due_at
    pool.submit("g", model=B)

    pool.submit("a", model=A)
    pool.start_engine(pool.posts.index(pool.engine_of(A)))
    pool.wait(0.25)

    (end,) = pool.ends("g")
    assert isinstance(end, Failed) and end.code == "ModelUnavailable" and "cannot be loaded" in end.message


# --- what never fits ---


def test_model_that_never_fits_is_refused_with_the_reason() -> None:
    pool = pool_of(A, memory="5 GB")

    answer = pool.submit("g", model=A)

    assert isinstance(answer, Refused) and answer.code == "ModelUnavailable"
    # It will be refused again: no time to come back.
    assert answer.retry_after is None
    assert "needs about 5.0 GB" in answer.message and "4.0 GB" in answer.message
    assert pool.state().engines == []


def test_models_that_are_loaded_at_the_start_keep_their_memory() -> None:
    pool = Pool(entry(MODEL, memory="2 GB"), entry(A, is_loaded_at_start=False, memory="3 GB"), memory_budget=4 * GB)

    # Also while its engine is lost.
    answer = pool.submit("g", model=A)

    assert isinstance(answer, Refused) and "of which other models keep 2.0 GB" in answer.message
    assert pool.start_wanted() == [MODEL]
    pool.wait(0.25)
    assert pool.state().engines[0].state == "idle"


def test_those_who_wait_learn_where_the_others_have_grown_too_large_for_good() -> None:
    pool = Pool(
        entry(MODEL, memory="2 GB"),
        entry(A, is_loaded_at_start=False, memory="2 GB"),
        entry(B, is_loaded_at_start=False, memory="2 GB"),
        memory_budget=4 * GB,
    )
    kept = pool.start_engine()
    load(pool, A, "a")
    pool.submit("b", model=B)
    assert pool.ends("b") == []

    pool.keeper.resident[kept] = 3 * GB
    pool.wait(0.25)

    (end,) = pool.ends("b")
    assert isinstance(end, Failed) and end.code == "ModelUnavailable" and "3.0 GB" in end.message
    # One that is loaded is never refused for memory.
    assert isinstance(pool.submit("a2", model=A), Accepted)


# --- idle ---


def test_idle_engine_unloads_and_its_post_is_cold() -> None:
    pool = pool_of(A, idle=10)
    engine = load(pool, A, "g")
    for _ in range(20):
        pool.wait(1)
        pool.beat(engine)
    pool.finish(engine, "g")

    pool.wait(9)
    pool.beat(engine)
    assert not is_told_to_stop(pool, engine)
    pool.wait(1.5)
    assert is_told_to_stop(pool, engine)
    assert pool.state().engines[0].state == "draining"
    pool.end_stopped()

    (state,) = pool.state().engines
    assert (state.state, state.restarts, state.error, state.pid, state.taken_bytes) == ("cold", 0, None, 0, 0)
    assert pool.start_wanted() == []


@pytest.mark.parametrize(("at_start", "idle"), [(True, 10.0), (False, 0.0)])
def test_engine_that_is_to_stay_stays(*, at_start: bool, idle: float) -> None:
    pool = Pool(entry(A, is_loaded_at_start=at_start), idle_unload_seconds=idle)
    engine = load(pool, A)

    for _ in range(100):
        pool.wait(10)
        pool.beat(engine)

    assert not is_told_to_stop(pool, engine)


def test_probes_do_not_keep_an_engine() -> None:
    pool = pool_of(A, idle=10)
    engine = load(pool, A)

    for _ in range(6):
        pool.now += 2
        pool.state(probe=True)
        for dispatch in list(pool.running(engine).values()):
            if dispatch.generation_id == "probe":
                pool.finish(engine, "probe")
        pool.beat(engine)
        pool.wait(0)

    assert is_told_to_stop(pool, engine)
    assert pool.state(probe=True).running == 0


def test_generation_that_comes_while_the_engine_ends_starts_it_again() -> None:
    pool = pool_of(A, idle=10)
    engine = load(pool, A)
    pool.wait(11)
    assert is_told_to_stop(pool, engine)

    assert isinstance(pool.submit("g", model=A), Accepted)
    assert pool.dispatches(engine)[-1].generation_id != "g"
    assert pool.start_wanted() == []
    pool.end_stopped()

    assert pool.start_wanted() == [A]
    assert "g" in pool.running(pool.engine_of(A).engine_id)
    assert pool.engine_of(A).restarts == 0


def test_engine_that_does_not_end_is_killed_and_that_is_no_loss_either() -> None:
    pool = pool_of(A, idle=10)
    engine = load(pool, A)
    pool.wait(11)

    pool.wait(30)
    assert pool.keeper.killed[-1] == engine
    pool.posts[0].error = "its process ended with -9"
    pool.lose_engine()

    assert (pool.posts[0].state_name, pool.posts[0].error, pool.posts[0].failed_starts) == ("cold", None, 0)


def test_lost_engine_that_nobody_waits_for_is_not_started_again() -> None:
    pool = pool_of(A)
    load(pool, A)
    pool.posts[0].error = "its process ended with -9"
    pool.lose_engine()

    assert pool.start_wanted() == []
    assert pool.state().engines[0].state == "lost"


# --- engines of an earlier pool ---


def test_engine_that_an_earlier_pool_loaded_on_demand_is_taken_over_and_unloads_when_idle() -> None:
    pool = pool_of(A, idle=10)
    assert pool.posts == []

    pool.from_engine("3-1", EngineHello(engine_id="3-1", pid=4242, model=A))
    pool.beat("3-1")
    assert pool.told["3-1"][0] == EnginePing(())
    pool.submit("g", model=A)
    assert "g" in pool.running("3-1")

    pool.finish("3-1", "g")
    pool.wait(11)
    assert is_told_to_stop(pool, "3-1")


# --- together ---


@settings(max_examples=60, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from([0.0, 0.25, 3.0])), max_size=30),
    budget=st.sampled_from([3, 4, 6, 7]),
    load_turns=st.integers(0, 3),
)
def test_everybody_is_served_in_the_end_and_the_budget_is_kept(
    arrivals: list[tuple[str, float]], budget: int, load_turns: int
) -> None:
    pool = pool_of(A, B, C, budget=budget, idle=5, slots=2)
    waiting = list(enumerate(arrivals))
    loads: dict[str, int] = {}
    for _ in range(600):
        if waiting:
            number, (model, pause) = waiting.pop(0)
            pool.submit(f"g{number}", model=model, client=model, attach=False, grace_seconds=1e9)
            pool.wait(pause)
        pool.get_on(loads, load_turns=load_turns)
        pool.end_stopped()
        pool.start_wanted(is_ready=False)
        assert sum(3 for engine in pool.posts if engine.is_started) <= budget
        pool.wait(0.25)
        if not waiting and not pool.state().running and not pool.state().waiting:
            break

    ended = [generation for generation in pool.dispatcher._generations if generation.is_ended]
    assert len(ended) == len(arrivals)
    assert len(loads) <= 3 + len(arrivals)
