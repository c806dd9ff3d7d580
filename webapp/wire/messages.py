"""The messages between web processes, the pool and engines, one union for each direction.

A generation is known by its id everywhere. Between the pool and an engine it also has a lease: a
number that grows with every dispatch, so that what a lost engine still says about an old dispatch is
told apart from what the present one says.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from webapp.wire.generation import EngineEvent, Failed, Finished, GenerationEvent, GenerationRequest

# How the ids of engines on other machines begin.
REMOTE_PREFIX = "remote-"
# draining: takes nothing new and ends, its memory is wanted or it was idle. cold: not loaded, on purpose.
EngineStateName = Literal["starting", "loading", "idle", "busy", "draining", "cold", "lost"]
# The kernel reads 0 and negative numbers as whole groups of processes; 2**22 is its own limit (proc(5), pid_max).
Pid = Annotated[int, Meta(ge=1, le=2**22)]


class Wire(Struct, frozen=True, array_like=True, tag=True, gc=False):
    """What all messages share: immutable, encoded as an array whose first element names the message.

    They hold nothing that could hold them, so Python need not look for cycles in them: that took a fifth of the
    pool's and the web processes' time.
    """


# --- web process to pool ---------------------------------------------------------------------------


class WebHello(Wire, frozen=True):
    """Sent every half second: the web process lives. Answered with PoolHello."""

    pid: int
    parent_pid: int


class Question(Wire, frozen=True, kw_only=True):
    """A message that the pool answers with one Answer of the same `ask`, a number the asker chooses."""

    ask: int


class Submit(Question, frozen=True, kw_only=True):
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


class Attach(Question, frozen=True, kw_only=True):
    """Asks for the events after event id `after`, and for those to come. Answered with Accepted, Ended or Gone."""

    generation_id: str
    owner: str
    after: int


class Detach(Wire, frozen=True):
    """The web process has no reader of this generation any more."""

    generation_id: str


class Abort(Question, frozen=True, kw_only=True):
    """Stop the generation now. Answered with Accepted or Gone. Idempotent."""

    generation_id: str
    owner: str


class AskState(Question, frozen=True, kw_only=True):
    """Asks for PoolState. With `probe`, engines that have been silent are made to produce one token."""

    probe: bool = False


class AskMetrics(Question, frozen=True, kw_only=True):
    """Asks for MetricsText."""


class AskRecord(Question, frozen=True, kw_only=True):
    """Asks for all that is known of a generation that has ended. Answered with GenerationRecord or Gone."""

    generation_id: str
    owner: str


class DropReaders(Question, frozen=True, kw_only=True):
    """Cut off who reads this generation, on every web process: they come back by themselves.

    Answered with Accepted or Gone. The generation goes on.
    """

    generation_id: str
    owner: str


class AskTokenCount(Question, frozen=True, kw_only=True):
    """Asks how many tokens this request's prompt has, by its model's own tokenizer. Answered with TokenCount."""

    request: GenerationRequest


WebToPool = (
    WebHello | Submit | Attach | Detach | Abort | AskState | AskMetrics | AskRecord | DropReaders | AskTokenCount
)


# --- pool to web process ---------------------------------------------------------------------------


class PoolHello(Wire, frozen=True):
    """The pool lives. A new `epoch` means a new pool process: readers attach anew.

    So they do with `is_first`: the pool did not know this web process, or had given it up and its readers with it.
    """

    epoch: str
    is_first: bool = False


class Answer(Wire, frozen=True, kw_only=True):
    """What the pool says to the question of the same `ask`."""

    ask: int


class Accepted(Answer, frozen=True, kw_only=True):
    """It is done as asked; events of the generation follow, where they were asked for."""


class Refused(Answer, frozen=True, kw_only=True):
    """The pool did not take the generation. `retry_after` is in whole seconds."""

    code: str
    message: str
    retry_after: int | None = None


class Ended(Answer, frozen=True, kw_only=True):
    """The reader has already seen the end of this generation."""


class Gone(Answer, frozen=True, kw_only=True):
    """The pool does not know the generation (any more), or its owner is another one.

    With `is_known` it does, and the event id is not one of its.
    """

    is_known: bool = False


class Published(Wire, frozen=True, tag="p"):
    """An event for the readers of a generation.

    `event_id` counts 1, 2, 3, … over Delta, Finished and Failed; the others are not kept and have 0.
    """

    generation_id: str
    event_id: int
    event: GenerationEvent


class EngineState(Wire, frozen=True, kw_only=True, tag=False):
    """One engine as the pool sees it. `seconds_since_token` is None before the first.

    `memory_bytes` is what its weights and cache take, `taken_bytes` what it counts against the budget of its device.
    """

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
    taken_bytes: int = 0


class WebState(Wire, frozen=True, tag=False):
    pid: int
    parent_pid: int


class MemoryState(Wire, frozen=True, kw_only=True, tag=False):
    """The memory of a CUDA device, or of the machine itself ("cpu", without a title). Without a budget: no bound."""

    device: str
    title: str
    budget_bytes: int | None
    taken_bytes: int


class PoolState(Answer, frozen=True, kw_only=True):
    """The whole pool at one moment. `waiting` counts queued generations for each model.

    `memories` are the machine's own and each CUDA device's, with what engines may take of them and what they take.
    """

    epoch: str
    pid: int
    parent_pid: int
    engines: list[EngineState]
    web_processes: list[WebState]
    waiting: dict[str, int]
    running: int
    memories: list[MemoryState] = []


class MetricsText(Answer, frozen=True, kw_only=True):
    """What the pool has counted and what it is like now, as Prometheus reads it."""

    content_type: str
    text: str


class GenerationRecord(Answer, frozen=True, kw_only=True):
    """A generation as the pool has seen it. `end` is None while it has not ended.

    `texts` are the pieces of its text as they were sent, in order, each with the milliseconds since it was accepted.
    """

    request: GenerationRequest
    prompt_tokens: int
    device: str
    precision: str
    texts: list[tuple[int, str]]
    end: Finished | Failed | None


class ReadersDropped(Wire, frozen=True):
    """Who reads this generation here is to be cut off."""

    generation_id: str


class TokenCount(Answer, frozen=True, kw_only=True):
    """How many tokens a prompt has; None where no engine of the model is loaded, or with what is wrong with it."""

    prompt_tokens: int | None = None
    code: str = ""
    message: str = ""


PoolToWeb = (
    PoolHello
    | Published
    | Accepted
    | Refused
    | Ended
    | Gone
    | PoolState
    | MetricsText
    | GenerationRecord
    | ReadersDropped
    | TokenCount
)


# --- pool to engine --------------------------------------------------------------------------------


class Dispatch(Wire, frozen=True, kw_only=True):
    """Run this generation, going on after `token_ids`, which an earlier engine has already produced."""

    generation_id: str
    lease: int
    request: GenerationRequest
    token_ids: tuple[int, ...] = ()


class AbortLease(Wire, frozen=True):
    generation_id: str
    lease: int


class EnginePing(Wire, frozen=True):
    """The pool lives. A local engine that hears none for long ends itself.

    `leases` are all that the pool has given this engine: it drops any other it still runs.
    """

    leases: tuple[int, ...]


class AskHello(Wire, frozen=True):
    """The pool does not know this engine (any more): it is a new one, or had given the engine up."""


class CountTokens(Wire, frozen=True, kw_only=True):
    """Count the tokens of this request's prompt. `asker` and `ask` come back with the answer."""

    asker: bytes
    ask: int
    request: GenerationRequest


class EngineStop(Wire, frozen=True):
    """End now."""


PoolToEngine = Dispatch | AbortLease | EnginePing | AskHello | CountTokens | EngineStop


# --- engine to pool --------------------------------------------------------------------------------


class EngineHello(Wire, frozen=True, kw_only=True):
    """Sent first, and again whenever the pool asks. `device` is where the pool has put it; empty for others."""

    engine_id: str
    pid: Pid
    model: str
    device: str = ""


class EngineHeartbeat(Wire, frozen=True, kw_only=True):
    """Sent every half second, whatever the engine is doing.

    `turn_age` is how long, in seconds, the present turn of its main loop has lasted; 0 while it is idle. `leases` are
    all it has had at that turn's start: what it was given and is not among them was lost on the way.
    """

    load_fraction: float
    is_ready: bool
    device: str
    precision: str
    capacity: int
    memory_bytes: int
    turn_age: float
    leases: tuple[int, ...] = ()


class LeaseEvent(Wire, frozen=True, tag=False):
    generation_id: str
    lease: int
    event: EngineEvent


class StepEvents(Wire, frozen=True):
    """Everything one engine step produced, for all running generations, in order."""

    events: list[LeaseEvent]


class LoadFailed(Wire, frozen=True):
    """The model cannot be loaded; the engine ends after this."""

    message: str


class TokensCounted(Wire, frozen=True, kw_only=True):
    """The answer to CountTokens: the count, or the code and the message of what is wrong with the request."""

    asker: bytes
    ask: int
    prompt_tokens: int | None = None
    code: str = ""
    message: str = ""


EngineToPool = EngineHello | EngineHeartbeat | StepEvents | LoadFailed | TokensCounted
