"""Posts and the engines on them: restarts, hangs, and when a model is given up for a while."""

import pytest

from tests.pool.driving import COLD, MODEL, entry, generation, heartbeat
from webapp.catalog import Catalog
from webapp.pool.roster import (
    HEARTBEAT_LATE_LOADING_SECONDS,
    HEARTBEAT_LATE_SECONDS,
    HOPELESS_AFTER,
    LONGEST_TURN_SECONDS,
    RESTART_PAUSES,
    Engine,
    Roster,
)
from webapp.wire.messages import EngineHeartbeat


def make_engine(*, is_ready: bool = True, now: float = 100.0) -> Engine:
    engine = Engine(entry(), entry().place_on_cpu)
    start(engine, is_ready=is_ready, now=now)
    return engine


def start(engine: Engine, *, is_ready: bool = True, now: float = 100.0) -> None:
    engine.started("7-1", 5001, now)
    engine.is_connected = True
    engine.heartbeat, engine.heartbeat_at = heartbeat(is_ready=is_ready), now


def test_engine_that_had_been_ready_starts_again_at_once() -> None:
    engine = make_engine()

    engine.vacate(200.0)

    assert engine.start_due_at == 200.0
    assert (engine.restarts, engine.failed_starts, engine.state_name) == (1, 0, "lost")


def test_pauses_grow_with_every_failed_start_up_to_the_last() -> None:
    engine = Engine(entry(), entry().place_on_cpu)
    pauses = []
    for _ in range(len(RESTART_PAUSES) + 2):
        start(engine, is_ready=False)
        engine.vacate(200.0)
        pauses.append(engine.start_due_at - 200.0)

    assert pauses == [*RESTART_PAUSES[1:], RESTART_PAUSES[-1], RESTART_PAUSES[-1], RESTART_PAUSES[-1]]


def test_engine_is_hopeless_after_failed_starts_until_the_next_is_due() -> None:
    engine = Engine(entry(), entry().place_on_cpu)
    for _ in range(HOPELESS_AFTER):
        assert not engine.is_hopeless(200.0)
        start(engine, is_ready=False)
        engine.vacate(200.0)

    assert engine.is_hopeless(200.0)
    assert not engine.is_hopeless(engine.start_due_at)
    start(engine, is_ready=False)
    assert not engine.is_hopeless(200.0)


@pytest.mark.parametrize(
    ("is_ready", "late"), [(True, HEARTBEAT_LATE_SECONDS), (False, HEARTBEAT_LATE_LOADING_SECONDS)]
)
def test_silent_engine_hangs_and_has_longer_while_it_loads(*, is_ready: bool, late: float) -> None:
    engine = make_engine(is_ready=is_ready, now=100.0)

    assert not engine.is_hanging(100.0 + late)
    assert engine.is_hanging(100.1 + late)


def test_engine_that_never_said_a_word_hangs_in_the_end() -> None:
    engine = Engine(entry(), entry().place_on_cpu)
    engine.started("7-1", 5001, 100.0)

    assert not engine.is_hanging(101.0)
    assert engine.is_hanging(100.1 + HEARTBEAT_LATE_LOADING_SECONDS)


def test_engine_that_sits_in_one_turn_hangs_though_its_heart_beats() -> None:
    engine = make_engine()
    beat = heartbeat()
    fields = {name: getattr(beat, name) for name in beat.__struct_fields__}

    engine.heartbeat = EngineHeartbeat(**fields | {"turn_age": LONGEST_TURN_SECONDS})
    assert not engine.is_hanging(100.0)
    engine.heartbeat = EngineHeartbeat(**fields | {"turn_age": LONGEST_TURN_SECONDS + 1})
    assert engine.is_hanging(100.0)


def test_vacant_post_does_not_hang() -> None:
    assert not Engine(entry(), entry().place_on_cpu).is_hanging(1e9)


def test_vacate_gives_back_what_ran_and_forgets_the_process() -> None:
    engine = make_engine()
    lost = generation("g")
    engine.leases[1] = lost
    assert (engine.room, engine.state_name) == (1, "busy")

    assert engine.vacate(200.0) == [lost]

    assert (engine.room, engine.leases, engine.heartbeat, engine.last_token_at) == (0, {}, None, None)
    assert engine.state(201.0, taken={}).state == "lost"


@pytest.mark.parametrize("is_connected", [True, False])
def test_engine_has_no_room_before_it_is_ready(*, is_connected: bool) -> None:
    engine = make_engine(is_ready=False)
    engine.is_connected = is_connected

    assert engine.room == 0
    assert engine.state_name == ("loading" if is_connected else "starting")


def test_posts_are_made_once_for_each_model() -> None:
    roster = Roster(Catalog([entry(engines=2)]))

    first = roster.ensure(entry(engines=2))

    assert roster.ensure(entry(engines=2)) is first
    assert len(first) == 2
    assert roster.of_model(COLD) == []
    assert [engine.entry.name for engine in roster] == [MODEL, MODEL]


def test_engine_is_found_by_its_id_only_while_it_is_on_its_post() -> None:
    roster = Roster(Catalog([entry()]))
    (engine,) = roster.ensure(entry())
    assert roster.find("") is None

    start(engine)
    assert roster.find("7-1") is engine

    engine.vacate(200.0)
    assert roster.find("7-1") is None
