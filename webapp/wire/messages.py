"""The messages between web processes, the pool and engines, one union for each direction.

A generation is known by its id everywhere. Between the pool and an engine it also has a lease: a
number that grows with every dispatch, so that what a lost engine still says about an old dispatch is
told apart from what the present one says.
"""

from typing import Literal

from msgspec import Struct

from webapp.wire.generation import EngineEvent, GenerationEvent, GenerationRequest

EngineStateName = Literal["starting", "loading", "idle", "busy", "draining", "lost"]


class Wire(Struct, frozen=True, array_like=True, tag=True):
    """What all messages share: immutable, encoded as an array whose first element names the message."""


# --- web process to pool ---------------------------------------------------------------------------


class WebHello(Wire):
    """Sent every half second: the web process lives. Answered with PoolHello."""

    pid: int
    parent_pid: int


class Submit(Wire, kw_only=True):
    """Asks for a generation. Idempotent by `generation_id`. Answered with Accepted or Refused.

    `owner` must be repeated to attach or abort. `client` is who shares the queue fairly with others.
    `grace_seconds` is how long the generation lives without a reader. With `attach`, the sender is a
    reader from the first event.
    """

    generation_id: str
    owner: str
    client: str
    request: GenerationRequest
    grace_seconds: float
    attach: bool = False
    reject_if_busy: bool = False


class Attach(Wire):
    """Asks for the events after event id `after`, and for those to come. Answered with events, Ended or Gone."""

    generation_id: str
    owner: str
    after: int


class Detach(Wire):
    """The web process has no reader of this generation any more."""

    generation_id: str


class Abort(Wire):
    """Stop the generation now. Answered with Aborted or Gone. Idempotent."""

    generation_id: str
    owner: str


class AskState(Wire):
    """Asks for PoolState. With `probe`, engines that have been silent are made to produce one token."""

    probe: bool = False


WebToPool = WebHello | Submit | Attach | Detach | Abort | AskState


# --- pool to web process ---------------------------------------------------------------------------


class PoolHello(Wire):
    """The pool lives. A new `epoch` means a new pool process: readers attach anew."""

    epoch: str


class Accepted(Wire):
    generation_id: str


class Refused(Wire):
    """The pool did not take the generation. `retry_after` is in whole seconds."""

    generation_id: str
    code: str
    message: str
    retry_after: int | None = None


class Published(Wire, tag="p"):
    """An event for the readers of a generation.

    `event_id` counts 1, 2, 3, … over Delta, Finished and Failed; the others are not kept and have 0.
    """

    generation_id: str
    event_id: int
    event: GenerationEvent


class Ended(Wire):
    """The reader has already seen the end of this generation."""

    generation_id: str


class Gone(Wire):
    """The pool does not know the generation (any more), the owner is another one, or the event id is not one of its."""

    generation_id: str
    is_known: bool = False


class Aborted(Wire):
    generation_id: str


class EngineState(Wire, kw_only=True, tag=False):
    """One engine as the pool sees it. Memory in bytes; `seconds_since_token` is None before the first."""

    engine_id: str
    pid: int
    model: str
    device: str
    precision: str
    state: EngineStateName
    load_fraction: float
    memory_bytes: int
    capacity: int
    running: int
    restarts: int
    seconds_since_token: float | None
    error: str | None = None


class WebState(Wire, tag=False):
    pid: int
    parent_pid: int


class PoolState(Wire, kw_only=True):
    """The whole pool at one moment. `waiting` counts queued generations for each model."""

    epoch: str
    pid: int
    parent_pid: int
    engines: list[EngineState]
    web_processes: list[WebState]
    waiting: dict[str, int]
    running: int


PoolToWeb = PoolHello | Accepted | Refused | Published | Ended | Gone | Aborted | PoolState


# --- pool to engine --------------------------------------------------------------------------------


class Dispatch(Wire, kw_only=True):
    """Run this generation, going on after `token_ids`, which an earlier engine has already produced."""

    generation_id: str
    lease: int
    request: GenerationRequest
    token_ids: tuple[int, ...] = ()


class AbortLease(Wire):
    generation_id: str
    lease: int


class EnginePing(Wire):
    """The pool lives. An engine that hears none for long ends itself.

    `leases` are all that the pool has given this engine: it drops any other it still runs.
    """

    epoch: str
    leases: tuple[int, ...]


class EngineStop(Wire):
    """End now."""


PoolToEngine = Dispatch | AbortLease | EnginePing | EngineStop


# --- engine to pool --------------------------------------------------------------------------------


class EngineHello(Wire, kw_only=True):
    """Sent first, and again whenever the pool's epoch changes."""

    engine_id: str
    pid: int
    model: str


class EngineHeartbeat(Wire, kw_only=True):
    """Sent every half second, whatever the engine is doing.

    `turn_age` is how long, in seconds, the present turn of its main loop has lasted.
    `leases` are those it is running.
    """

    load_fraction: float
    is_ready: bool
    device: str
    precision: str
    capacity: int
    memory_bytes: int
    turn_age: float
    leases: tuple[int, ...]


class LeaseEvent(Wire, tag=False):
    generation_id: str
    lease: int
    event: EngineEvent


class StepEvents(Wire):
    """Everything one engine step produced, for all running generations, in order."""

    events: list[LeaseEvent]


class LoadFailed(Wire):
    """The model cannot be loaded; the engine ends after this."""

    message: str


EngineToPool = EngineHello | EngineHeartbeat | StepEvents | LoadFailed
