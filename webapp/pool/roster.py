"""The engines the pool has, would have and had: a post for each model and place to run it. Knows no sockets.

A post stays while engines come and go on it, so that restarts are counted and spaced out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from webapp.catalog import Catalog, CatalogEntry
from webapp.placement import Amounts, Place
from webapp.pool.generation_log import Generation
from webapp.wire.messages import EngineHeartbeat, EngineState, EngineStateName

# Pauses before the next start, in seconds, by the number of starts that failed in a row. The first is
# short because most losses are a single kill; the last keeps a broken model from burning the machine.
RESTART_PAUSES = (0.0, 0.5, 2.0, 5.0, 15.0, 30.0)
# After this many failed starts in a row the generations that wait for the model fail too, and nobody is unloaded
# for it any more.
HOPELESS_AFTER = 3
# An engine whose heartbeat is this many seconds late hangs. While it loads, one import can hold the
# interpreter for seconds, and the heartbeat with it.
HEARTBEAT_LATE_SECONDS = 3.0
HEARTBEAT_LATE_LOADING_SECONDS = 60.0
# One turn of an engine's main loop never takes this long, unless the device hangs.
LONGEST_TURN_SECONDS = 120.0


@dataclass(eq=False)
class Engine:
    """One post and the engine process on it. Times are monotonic seconds."""

    entry: CatalogEntry
    # The device it runs on, its slots, and what it is said or estimated to take, whether it is loaded or not.
    place: Place
    # Its process is on another machine: nobody here starts, ends or counts it.
    is_remote: bool = False
    engine_id: str = ""
    pid: int = 0
    is_started: bool = False
    is_connected: bool = False
    started_at: float = 0.0
    heartbeat_at: float = 0.0
    heartbeat: EngineHeartbeat | None = None
    # What runs on it, by lease.
    leases: dict[int, Generation] = field(default_factory=dict)
    last_token_at: float | None = None
    restarts: int = 0
    failed_starts: int = 0
    start_due_at: float = 0.0
    error: str | None = None
    ready_at: float = 0.0
    # When it last ran a generation of somebody's, or was started for one.
    last_used_at: float = 0.0
    # Its memory is wanted: it takes only those who were accepted until then, and nobody at -inf.
    takes_until: float = math.inf
    # It has been told to end.
    is_stopping: bool = False
    # Its process ended by itself, or had to be ended because it hung in a step: what ran on it may be why.
    has_crashed: bool = False

    @property
    def is_ready(self) -> bool:
        return self.is_connected and self.heartbeat is not None and self.heartbeat.is_ready

    @property
    def room(self) -> int:
        """Generations it can still take."""
        if not self.heartbeat or not self.is_ready or self.is_draining or self.is_stopping:
            return 0
        return self.heartbeat.capacity - len(self.leases)

    def is_open_to(self, accepted_at: float) -> bool:
        """Whether it takes generations accepted then, if it has room."""
        return self.is_ready and not self.is_stopping and accepted_at <= self.takes_until

    def room_for(self, accepted_at: float) -> int:
        """Generations it can still take of those accepted then."""
        return self.room if accepted_at <= self.takes_until else 0

    @property
    def is_draining(self) -> bool:
        """It takes nothing new, and ends when what it runs has ended."""
        return self.takes_until == -math.inf

    @property
    def is_in_use(self) -> bool:
        """It runs a generation of somebody's."""
        return any(not generation.is_probe for generation in self.leases.values())

    @property
    def is_on_demand(self) -> bool:
        """It starts at its first use, and may be unloaded."""
        return not self.entry.is_loaded_at_start and not self.is_remote

    @property
    def load_fraction(self) -> float:
        return self.heartbeat.load_fraction if self.heartbeat else 0.0

    @property
    def has_suspect(self) -> bool:
        """It runs a generation under which an engine was lost, and which has made no token since."""
        return any(generation.is_suspect for generation in self.leases.values())

    @property
    def state_name(self) -> EngineStateName:
        if not self.is_started:
            return "cold" if self.is_on_demand and not self.error else "lost"
        if self.is_draining or self.is_stopping:
            return "draining"
        if not self.is_connected:
            return "starting"
        if not self.is_ready:
            return "loading"
        return "busy" if self.leases else "idle"

    @property
    def has_failed_often(self) -> bool:
        """Its last starts have all failed, and were enough to tell that the next will too."""
        return self.failed_starts >= HOPELESS_AFTER

    def is_hopeless(self, now: float) -> bool:
        """It failed to start again and again, and the next try is not yet due."""
        return self.has_failed_often and not self.is_started and now < self.start_due_at

    @property
    def is_stuck(self) -> bool:
        """It has sat in one turn of its main loop for too long."""
        return self.is_ready and self.heartbeat is not None and self.heartbeat.turn_age > LONGEST_TURN_SECONDS

    def is_hanging(self, now: float) -> bool:
        """Its process lives and says nothing, as one that somebody has stopped; or it is stuck."""
        if not self.is_started:
            return False
        late = HEARTBEAT_LATE_SECONDS if self.is_ready else HEARTBEAT_LATE_LOADING_SECONDS
        return self.is_stuck or now - max(self.heartbeat_at, self.started_at) > late

    def started(self, engine_id: str, pid: int, now: float) -> None:
        """A process has taken the post."""
        self.engine_id, self.pid, self.is_started, self.started_at = engine_id, pid, True, now
        self.ready_at = self.last_used_at = now

    def became_ready(self, now: float) -> None:
        """Its model is loaded."""
        self.failed_starts, self.error = 0, None
        self.ready_at = self.last_used_at = now

    def vacate(self, now: float) -> list[Generation]:
        """Its process is gone: what ran on it. Sets when the next one may start."""
        lost = list(self.leases.values())
        if self.is_stopping:
            # As it was told: no loss, and however its process ended, no error.
            self.engine_id, self.pid, self.error, self.start_due_at = "", 0, None, now
        else:
            self.failed_starts = 0 if self.is_ready else self.failed_starts + 1
            self.start_due_at = now + RESTART_PAUSES[min(self.failed_starts, len(RESTART_PAUSES) - 1)]
            self.restarts += 1
        self.leases.clear()
        self.is_started = self.is_connected = self.is_stopping = self.has_crashed = False
        self.takes_until = math.inf
        self.heartbeat, self.last_token_at = None, None
        return lost

    def state(self, now: float, *, taken: Amounts) -> EngineState:
        """What /pool.json shows."""
        beat = self.heartbeat
        return EngineState(
            engine_id=self.engine_id,
            pid=self.pid,
            model=self.entry.name,
            device=(beat.device if beat else "") or self.place.device,
            precision=beat.precision if beat else self.entry.precision,
            state=self.state_name,
            load_fraction=self.load_fraction,
            memory_bytes=beat.memory_bytes if beat else 0,
            capacity=beat.capacity if beat else self.place.slots,
            running=len(self.leases),
            restarts=self.restarts,
            seconds_since_token=None if self.last_token_at is None else now - self.last_token_at,
            error=self.error,
            taken_bytes=taken.get(self.place.device, 0),
        )


class EngineKeeper(Protocol):
    """Who holds the engines' processes."""

    def watch(self, engine: Engine) -> bool:
        """Take note of a process that somebody else started; False where it has already ended."""
        ...

    def kill(self, engine: Engine) -> None:
        """End the process at once; its loss is noticed as any other."""
        ...

    def resident_bytes(self, engine: Engine) -> int:
        """What the process takes of the machine's memory."""
        ...


class Roster:
    """All posts, by model: one for each place that the catalogue has found for it on this machine."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._posts: dict[str, list[Engine]] = {}

    def __iter__(self) -> Iterator[Engine]:
        return iter([engine for posts in self._posts.values() for engine in posts])

    def ensure(self, entry: CatalogEntry) -> list[Engine]:
        """The posts of this model, made at first use."""
        return self._posts.setdefault(entry.name, [Engine(entry, place) for place in self._catalog.places(entry)])

    def add_remote(self, entry: CatalogEntry) -> Engine:
        """A post for an engine on another machine, for as long as it is there."""
        engine = Engine(entry, Place("", entry.slots, {}), is_remote=True)
        self.ensure(entry).append(engine)
        return engine

    def remove(self, engine: Engine) -> None:
        """The engine on another machine is gone."""
        self._posts[engine.entry.name].remove(engine)

    def of_model(self, model: str) -> list[Engine]:
        return self._posts.get(model, [])

    def find(self, engine_id: str) -> Engine | None:
        """The post this engine is on; None for an engine that was given up."""
        return next((engine for engine in self if engine.is_started and engine.engine_id == engine_id), None)


def load_failure(model: str) -> str:
    """What anybody may know of a model whose engines do not start; a library's own words may name folders."""
    return f"{model} cannot be loaded: Jeton's log says why."
