"""What a pool says of itself, for views that show it."""

import msgspec

from webapp.wire.messages import EngineState, PoolState, WebState


def engine_state(**fields: object) -> EngineState:
    """An idle engine of the scripted model, but for `fields`."""
    state = EngineState(
        engine_id="1",
        pid=4,
        model="@jeton/scripted",
        device="cpu",
        precision="scripted",
        state="idle",
        load_fraction=1.0,
        memory_bytes=0,
        capacity=1,
        running=0,
        restarts=0,
        seconds_since_token=1.0,
    )
    return msgspec.structs.replace(state, **fields)


def pool_state(*engines: EngineState, pid: int = 1) -> PoolState:
    """A pool with these engines and one web process."""
    return PoolState(
        ask=1,
        epoch="e",
        pid=pid,
        parent_pid=2,
        engines=list(engines),
        web_processes=[WebState(3, 2)],
        waiting={},
        running=0,
    )
