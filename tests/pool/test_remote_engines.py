"""Engines on other machines, as the dispatcher sees them: they have posts only while they are there."""

import msgspec

from tests.pool.driving import MODEL, Pool, entry, ids, serving
from webapp.catalog import Weights
from webapp.pool.roster import HEARTBEAT_LATE_SECONDS
from webapp.wire.generation import Delta
from webapp.wire.messages import AskHello, EngineHello, EnginePing, EngineStop, Refused

REMOTE = "remote-host-1"
OTHER = "remote-host-2"


def elsewhere() -> Pool:
    """A pool whose only model runs on other machines."""
    return Pool(msgspec.structs.replace(entry(), weights=Weights(remote=True)))


def join(pool: Pool, engine_id: str = REMOTE, model: str = MODEL) -> str:
    pool.from_engine(engine_id, EngineHello(engine_id=engine_id, pid=7, model=model))
    pool.beat(engine_id)
    return engine_id


def test_engine_that_joins_serves_beside_the_pools_own() -> None:
    pool, (own,) = serving(slots=1)
    join(pool)

    pool.submit("a")
    pool.submit("b")

    assert {*pool.running(own), *pool.running(REMOTE)} == {"a", "b"}
    assert pool.state().engines[1].pid == 0
    assert pool.state().engines[1].taken_bytes == 0


def test_model_that_runs_elsewhere_is_refused_until_an_engine_has_joined() -> None:
    pool = elsewhere()
    refused = pool.submit("g")
    assert isinstance(refused, Refused)
    assert refused.message == f"No engine of {MODEL} has joined."
    assert pool.dispatcher.engines_to_start(pool.now) == []

    join(pool)
    pool.submit("g")

    assert list(pool.running(REMOTE)) == ["g"]


def test_silent_engine_is_given_up_and_its_generations_wait_for_the_next() -> None:
    pool = elsewhere()
    join(pool)
    pool.submit("g")
    pool.token(REMOTE, "g", 0)

    pool.wait(HEARTBEAT_LATE_SECONDS + 0.1)
    assert pool.state().engines == []
    assert pool.keeper.killed == []
    assert pool.ends("g") == []

    join(pool, OTHER)
    assert pool.running(OTHER)["g"].token_ids == (0,)
    pool.token(OTHER, "g", 1)
    assert ids(pool.numbered("g")) == [1, 2]


def test_engine_that_comes_back_drops_what_it_ran_and_is_not_believed_before() -> None:
    pool = elsewhere()
    join(pool)
    pool.submit("g")
    lease = pool.running(REMOTE)["g"].lease
    pool.wait(HEARTBEAT_LATE_SECONDS + 0.1)

    pool.event(REMOTE, "g", Delta(0, "late", (1,)), lease=lease)
    assert pool.numbered("g") == []
    assert pool.told[REMOTE][-1] == AskHello()

    pool.from_engine(REMOTE, EngineHello(engine_id=REMOTE, pid=7, model=MODEL))
    assert pool.told[REMOTE][-1] == EnginePing(())
    pool.beat(REMOTE)
    assert pool.running(REMOTE)["g"].lease != lease


def test_engine_of_a_model_that_the_catalogue_does_not_have_is_sent_away() -> None:
    pool, _ = serving()

    pool.from_engine(REMOTE, EngineHello(engine_id=REMOTE, pid=7, model="@another/model"))

    assert pool.told[REMOTE] == [EngineStop()]
