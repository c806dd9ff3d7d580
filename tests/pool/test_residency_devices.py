"""Who is loaded where: engines on two CUDA devices and the processor, each memory with a budget of its own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pool.driving import MODEL, Pool, entry
from webapp.devices import Device
from webapp.pool.roster import Engine
from webapp.wire.generation import Failed, Loading, Queued
from webapp.wire.messages import Accepted, EngineHello, EngineStop, MemoryState, Refused

A, B, C = "@test/a", "@test/b", "@test/c"
GB = 10**9
FIRST, SECOND = "cuda:0", "cuda:1"


def devices(*sizes: int) -> list[Device]:
    return [Device(f"cuda:{number}", "A GPU", size * GB) for number, size in enumerate(sizes)]


def pool_of(
    *models: str,
    sizes: tuple[int, ...] = (4, 4),
    memory: str = "3 GB",
    slots: int = 2,
    engines: int = 1,
    **limits: object,
) -> Pool:
    """A pool of models that load on demand, on CUDA devices of these sizes in GB."""
    entries = [entry(name, is_loaded_at_start=False, memory=memory, slots=slots, engines=engines) for name in models]
    return Pool(*entries, devices=devices(*sizes), **limits)


def submit(pool: Pool, generation_id: str, model: str) -> object:
    return pool.submit(generation_id, model=model, client=generation_id, attach=True, grace_seconds=1e9)


def start(pool: Pool, *, is_ready: bool = True) -> list[tuple[str, str]]:
    """The engines that the pool wants are started: their models and devices."""
    wanted = pool.dispatcher.engines_to_start(pool.now)
    for engine in wanted:
        pool.start_engine(pool.posts.index(engine), is_ready=is_ready)
    return [(engine.entry.name, engine.place.device) for engine in wanted]


def stopped(pool: Pool) -> list[tuple[str, str]]:
    """The engines that were told to stop end: their models and devices."""
    ending = [engine for engine in pool.posts if engine.is_started and _is_told_to_stop(pool, engine)]
    for engine in ending:
        pool.lose_engine(pool.posts.index(engine))
    return [(engine.entry.name, engine.place.device) for engine in ending]


def _is_told_to_stop(pool: Pool, engine: Engine) -> bool:
    return EngineStop() in pool.told[engine.engine_id] or engine.engine_id in pool.keeper.killed


def load(pool: Pool, model: str, generation_id: str, *, device: str) -> str:
    """Somebody's first generation of this model loads it there, and runs; the engine."""
    submit(pool, generation_id, model)
    assert start(pool) == [(model, device)]
    return next(e.engine_id for e in pool.posts if e.is_started and (e.entry.name, e.place.device) == (model, device))


def taken(pool: Pool) -> dict[str, float]:
    """What is taken of each memory, in GB."""
    return {memory.device: memory.taken_bytes / GB for memory in pool.state().memories}


# --- where engines start ---


def test_models_of_the_start_are_on_every_device() -> None:
    pool = Pool(entry(memory="1 GB"), devices=devices(4, 4))

    assert start(pool) == [(MODEL, FIRST), (MODEL, SECOND)]
    assert taken(pool) == {"cpu": 0.12, FIRST: 1.0, SECOND: 1.0}


def test_model_starts_on_the_device_with_most_room() -> None:
    pool = Pool(
        entry(memory="1 GB", devices=[FIRST]),
        entry(A, is_loaded_at_start=False, memory="2 GB"),
        entry(B, is_loaded_at_start=False, memory="2 GB"),
        devices=devices(5, 5),
    )
    assert start(pool) == [(MODEL, FIRST)]

    load(pool, A, "a", device=SECOND)
    load(pool, B, "b", device=FIRST)

    assert taken(pool) == {"cpu": 0.18, FIRST: 3.0, SECOND: 2.0}


def test_one_who_waits_loads_one_device_and_more_than_fit_there_load_the_next() -> None:
    pool = pool_of(A, slots=2)
    submit(pool, "g1", A)
    submit(pool, "g2", A)
    assert start(pool, is_ready=False) == [(A, FIRST)]
    assert start(pool) == []

    submit(pool, "g3", A)

    assert start(pool) == [(A, SECOND)]
    assert len(pool.running(pool.posts[1].engine_id)) == 2
    pool.beat(pool.posts[0].engine_id)
    assert len(pool.running(pool.posts[0].engine_id)) == 1


def test_model_loads_on_the_processor_last_however_much_room_is_there() -> None:
    pool = Pool(
        entry(A, is_loaded_at_start=False, memory="1 GB", slots=1, devices=["cpu", "cuda"]),
        devices=devices(4),
        memory_budget=64 * GB,
    )
    load(pool, A, "g1", device=FIRST)

    submit(pool, "g2", A)

    assert start(pool) == [(A, "cpu")]


def test_engine_that_is_full_is_joined_by_one_on_the_next_device() -> None:
    pool = pool_of(A, slots=1)
    load(pool, A, "g1", device=FIRST)
    assert start(pool) == []

    submit(pool, "g2", A)

    assert start(pool) == [(A, SECOND)]
    assert list(pool.running(pool.posts[1].engine_id)) == ["g2"]


def test_nobody_is_unloaded_for_a_second_device() -> None:
    pool = pool_of(A, B, slots=1)
    kept = load(pool, B, "b", device=FIRST)
    load(pool, A, "a1", device=SECOND)
    pool.finish(kept, "b")

    submit(pool, "a2", A)
    pool.wait(0.25)

    assert (stopped(pool), start(pool)) == ([], [])
    assert pool.statuses("a2") == [Queued(1)]


def test_engines_of_one_device_start_together() -> None:
    pool = pool_of(A, sizes=(6,), engines=2)

    submit(pool, "g", A)

    assert start(pool) == [(A, FIRST), (A, FIRST)]


def test_slots_of_a_post_are_those_that_fit_there() -> None:
    pool = pool_of(A, slots=2)

    submit(pool, "g", A)

    assert [engine.capacity for engine in pool.state().engines] == [2, 2]


# --- making room ---


def test_who_waits_for_a_device_unloads_nobody_of_another() -> None:
    pool = Pool(
        entry(A, is_loaded_at_start=False, memory="3 GB", devices=[FIRST]),
        entry(B, is_loaded_at_start=False, memory="3 GB", devices=[SECOND]),
        entry(C, is_loaded_at_start=False, memory="3 GB", devices=[SECOND]),
        devices=devices(4, 4),
    )
    first, second = load(pool, A, "a", device=FIRST), load(pool, B, "b", device=SECOND)
    pool.finish(first, "a")
    pool.finish(second, "b")

    submit(pool, "c", C)

    assert pool.statuses("c") == [Queued(1)]
    assert stopped(pool) == [(B, SECOND)]
    assert start(pool) == [(C, SECOND)]


def test_who_waits_for_a_device_unloads_nobody_of_the_processor() -> None:
    pool = Pool(
        entry(A, is_loaded_at_start=False, memory="1 GB", devices=["cpu"]),
        entry(B, is_loaded_at_start=False, memory="3 GB"),
        entry(C, is_loaded_at_start=False, memory="3 GB"),
        devices=devices(4),
        memory_budget=2 * GB,
    )
    idle = load(pool, A, "a", device="cpu")
    pool.finish(idle, "a")
    running = load(pool, B, "b", device=FIRST)

    submit(pool, "c", C)
    pool.wait(0.25)
    assert stopped(pool) == []
    pool.finish(running, "b")
    pool.wait(0.25)

    assert stopped(pool) == [(B, FIRST)]
    assert taken(pool)["cpu"] == 1.0


def test_engine_on_a_device_makes_room_in_the_machines_memory() -> None:
    pool = Pool(
        entry(A, is_loaded_at_start=False, memory="1 GB", devices=[FIRST]),
        entry(B, is_loaded_at_start=False, memory="1 GB", devices=["cpu"]),
        devices=devices(4),
        memory_budget=GB,
    )
    engine = load(pool, A, "a", device=FIRST)
    pool.finish(engine, "a")

    submit(pool, "b", B)

    assert stopped(pool) == [(A, FIRST)]
    assert start(pool) == [(B, "cpu")]


def test_device_whose_engine_is_idle_makes_room_rather_than_one_that_runs_something() -> None:
    pool = pool_of(A, B, C)
    busy, idle = load(pool, A, "a", device=FIRST), load(pool, B, "b", device=SECOND)
    pool.finish(idle, "b")

    submit(pool, "c", C)

    assert stopped(pool) == [(B, SECOND)]
    assert start(pool) == [(C, SECOND)]
    submit(pool, "again", A)
    assert set(pool.running(busy)) == {"a", "again"}


def test_device_that_becomes_free_first_serves_who_waits_and_the_other_goes_on() -> None:
    pool = pool_of(A, B, C)
    first, second = load(pool, A, "a", device=FIRST), load(pool, B, "b", device=SECOND)
    pool.now += 10
    for engine in (first, second):
        pool.beat(engine)
    submit(pool, "c", C)
    pool.wait(0.25)
    (draining,) = [engine for engine in pool.posts if engine.is_draining]
    assert draining.entry.name == A

    pool.finish(second, "b")
    pool.wait(0.25)

    assert not draining.is_draining
    assert stopped(pool) == [(B, SECOND)]
    assert start(pool) == [(C, SECOND)]


def test_engine_that_takes_more_of_its_device_than_was_planned_is_in_nobodys_way() -> None:
    pool = pool_of(A, B, C, sizes=(7, 4))
    grown, idle = load(pool, A, "a", device=FIRST), load(pool, B, "b", device=FIRST)
    pool.finish(idle, "b")

    pool.beat(grown, memory_bytes=4 * GB)
    pool.wait(0.25)

    assert taken(pool)[FIRST] == 6
    assert stopped(pool) == []


def test_who_waits_for_one_device_keeps_nobody_from_another() -> None:
    pool = Pool(
        entry(A, is_loaded_at_start=False, memory="3 GB", devices=[FIRST]),
        entry(B, is_loaded_at_start=False, memory="3 GB", devices=[FIRST]),
        entry(C, is_loaded_at_start=False, memory="3 GB", devices=[FIRST, SECOND]),
        devices=devices(4, 4),
    )
    load(pool, A, "a", device=FIRST)
    submit(pool, "b", B)

    load(pool, C, "c", device=SECOND)

    assert pool.statuses("b") == [Queued(1)]
    assert [engine.entry.name for engine in pool.posts if engine.is_started] == [A, C]


def test_nobody_behind_takes_the_machines_memory_that_the_first_one_needs_besides() -> None:
    pool = Pool(
        entry(A, is_loaded_at_start=False, memory="3 GB", devices=[FIRST]),
        entry(B, is_loaded_at_start=False, memory="3 GB", devices=[FIRST]),
        entry(C, is_loaded_at_start=False, memory="0.1 GB", devices=["cpu"]),
        devices=devices(4, 4),
        memory_budget=200 * 10**6,
    )
    running = load(pool, A, "a", device=FIRST)
    submit(pool, "b", B)
    submit(pool, "c", C)

    assert start(pool) == []
    pool.finish(running, "a")
    pool.wait(0.25)
    assert stopped(pool) == [(A, FIRST)]
    assert start(pool) == [(B, FIRST), (C, "cpu")]


# --- what never fits ---


def test_model_that_fits_on_no_device_is_refused_with_the_numbers() -> None:
    pool = Pool(entry(MODEL, memory="2 GB"), entry(A, is_loaded_at_start=False, memory="3 GB"), devices=devices(4, 3))

    answer = submit(pool, "g", A)

    assert isinstance(answer, Refused) and answer.code == "ModelUnavailable" and answer.retry_after is None
    assert answer.message == (
        f"{A} needs about 3.0 GB of a CUDA device's memory for one generation at a time; of cuda:0 it may take "
        "4.0 GB, of which other models keep 2.0 GB (memory_share, JETON_GPU_MEMORY_SHARE)."
    )


def test_model_that_was_planned_beside_one_that_stays_loads_though_that_took_more() -> None:
    pool = Pool(entry(MODEL, memory="2 GB"), entry(A, is_loaded_at_start=False, memory="2 GB"), devices=devices(4))
    start(pool)
    pool.beat(pool.posts[0].engine_id, memory_bytes=2 * GB + 300 * 10**6)

    load(pool, A, "a", device=FIRST)

    assert pool.ends("a") == []


def test_generation_of_a_pool_before_learns_that_its_device_is_gone() -> None:
    pool = Pool(entry(A, is_loaded_at_start=False, devices=[SECOND]), devices=devices(4, 4))
    submit(pool, "g", A)

    later = pool.killed(devices=devices(4))
    later.attach("g")
    later.wait(0.25)

    (end,) = later.ends("g")
    assert isinstance(end, Failed) and "is to run on cuda:1" in end.message


def test_generation_of_a_pool_before_learns_that_the_model_of_the_start_has_no_room_any_more() -> None:
    pool = Pool(entry(memory="3 GB"), devices=devices(4))
    submit(pool, "g", MODEL)

    later = pool.killed(devices=devices(2))
    later.attach("g")

    assert start(later) == []
    later.wait(0.25)
    (end,) = later.ends("g")
    assert isinstance(end, Failed) and "needs about 3.0 GB" in end.message


# --- engines of an earlier pool, reports ---


def test_engine_that_lives_on_takes_the_post_of_its_own_device() -> None:
    pool = Pool(entry(memory="1 GB"), devices=devices(4, 4))

    pool.from_engine("3-2", EngineHello(engine_id="3-2", pid=4242, model=MODEL, device=SECOND))
    pool.from_engine("3-9", EngineHello(engine_id="3-9", pid=4243, model=MODEL, device="cuda:7"))

    assert [engine.engine_id for engine in pool.posts] == ["", "3-2"]
    assert pool.told["3-9"] == [EngineStop()]
    assert start(pool) == [(MODEL, FIRST)]


def test_state_tells_the_budget_and_what_is_taken_of_each_memory() -> None:
    pool = pool_of(A, memory_budget=2 * GB)
    submit(pool, "g", A)
    assert pool.statuses("g") == [Loading(0.0)]
    start(pool)

    state = pool.state()

    assert state.memories == [
        MemoryState(device="cpu", title="", budget_bytes=2 * GB, taken_bytes=60 * 10**6),
        MemoryState(device=FIRST, title="A GPU", budget_bytes=4 * GB, taken_bytes=3 * GB),
        MemoryState(device=SECOND, title="A GPU", budget_bytes=4 * GB, taken_bytes=0),
    ]
    assert [engine.taken_bytes for engine in state.engines] == [3 * GB, 0]
    assert state.engines[1].device == SECOND


# --- together ---


@settings(max_examples=60, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from([0.0, 0.25, 3.0])), max_size=30),
    sizes=st.sampled_from([(3, 3), (3, 7), (4, 6), (7, 7)]),
    load_turns=st.integers(0, 3),
)
def test_everybody_is_served_in_the_end_and_every_budget_is_kept(
    arrivals: list[tuple[str, float]], sizes: tuple[int, ...], load_turns: int
) -> None:
    pool = pool_of(A, B, C, sizes=sizes, memory_budget=200 * 10**6, idle_unload_seconds=5)
    waiting = list(enumerate(arrivals))
    loads: dict[str, int] = {}
    for _ in range(600):
        if waiting:
            number, (model, pause) = waiting.pop(0)
            answer = submit(pool, f"g{number}", model)
            assert isinstance(answer, Accepted)
            pool.wait(pause)
        pool.get_on(loads, load_turns=load_turns)
        stopped(pool)
        start(pool, is_ready=False)
        assert all(memory.taken_bytes <= (memory.budget_bytes or 0) for memory in pool.state().memories)
        pool.wait(0.25)
        if not waiting and not pool.state().running and not pool.state().waiting:
            break

    ended = [generation for generation in pool.dispatcher._generations if generation.is_ended]
    assert len(ended) == len(arrivals)


@pytest.mark.parametrize("sizes", [(4,), (4, 4)])
def test_models_that_do_not_fit_together_take_turns(sizes: tuple[int, ...]) -> None:
    pool = pool_of(A, B, C, sizes=sizes)
    for number, model in enumerate((A, B, C) * 2):
        submit(pool, f"g{number}", model)
    for _ in range(100):
        stopped(pool)
        start(pool)
        for engine in pool.posts:
            for generation in list(engine.leases.values()):
                pool.finish(engine.engine_id, generation.generation_id)
            if engine.is_started:
                pool.beat(engine.engine_id)
        pool.wait(0.25)

    assert [len(pool.ends(f"g{number}")) for number in range(6)] == [1] * 6
