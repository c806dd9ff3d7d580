"""Drives a real dispatcher by hand: the clock, the web processes and the engines are the test's."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from webapp.catalog import Catalog, CatalogEntry, Weights
from webapp.devices import Device
from webapp.placement import Machine
from webapp.pool.dispatcher import Dispatcher
from webapp.pool.generation_log import Generation
from webapp.pool.journal_records import Record
from webapp.pool.recording import Recording
from webapp.pool.roster import Engine, Roster
from webapp.pool.waiting_line import WaitingLine
from webapp.wire.generation import Delta, EngineEvent, Failed, Finished, GenerationRequest, Usage
from webapp.wire.messages import (
    Abort,
    AbortLease,
    Answer,
    AskState,
    Attach,
    Detach,
    Dispatch,
    EngineHeartbeat,
    EngineHello,
    EnginePing,
    EngineStop,
    LeaseEvent,
    LoadFailed,
    PoolState,
    PoolToEngine,
    PoolToWeb,
    Published,
    StepEvents,
    Submit,
    WebHello,
)

MODEL = "@test/model"
COLD = "@test/cold"
EPOCH = "epoch-2"
WEB = b"web-1"
OTHER_WEB = b"web-2"
OWNER = "owner"


def entry(
    name: str = MODEL,
    *,
    slots: int = 2,
    engines: int = 1,
    is_loaded_at_start: bool = True,
    memory: str | None = None,
    devices: Iterable[str] = (),
) -> CatalogEntry:
    return CatalogEntry(
        name=name,
        title=name,
        description="",
        weights=Weights(scripted=True),
        precision="scripted",
        context_window=100,
        sequence_length=100,
        slots=slots,
        engines=engines,
        is_loaded_at_start=is_loaded_at_start,
        memory=memory,
        devices=list(devices),
    )


def submit(
    generation_id: str,
    *,
    client: str = "client",
    owner: str = OWNER,
    model: str = MODEL,
    attach: bool = True,
    grace_seconds: float = 0.0,
    reject_if_busy: bool = False,
    ask: int = 1,
) -> Submit:
    request = GenerationRequest(model=model, context_window=100, max_tokens=50, seed=1, prompt="Hi")
    return Submit(
        ask=ask,
        generation_id=generation_id,
        owner=owner,
        client=client,
        request=request,
        grace_seconds=grace_seconds,
        attach=attach,
        reject_if_busy=reject_if_busy,
    )


def generation(
    generation_id: str, *, client: str = "client", accepted_at: float = 1.0, model: str = MODEL
) -> Generation:
    return Generation(submit(generation_id, client=client, model=model), accepted_at)


def heartbeat(
    *,
    capacity: int = 2,
    is_ready: bool = True,
    load_fraction: float = 1.0,
    leases: Iterable[int] = (),
    turn_age: float = 0.0,
    memory_bytes: int = 1,
) -> EngineHeartbeat:
    return EngineHeartbeat(
        load_fraction=load_fraction,
        is_ready=is_ready,
        device="cpu",
        precision="scripted",
        capacity=capacity,
        memory_bytes=memory_bytes,
        turn_age=turn_age,
        leases=tuple(leases),
    )


@dataclass
class Keeper:
    """Holds no processes, only what the dispatcher wanted of them."""

    watched: list[int] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    # Processes that have ended before anybody watched them.
    dead_pids: set[int] = field(default_factory=set)
    # What the processes take of the machine's memory, by engine.
    resident: dict[str, int] = field(default_factory=dict)

    def watch(self, engine: Engine) -> bool:
        self.watched.append(engine.pid)
        return engine.pid not in self.dead_pids

    def kill(self, engine: Engine) -> None:
        self.killed.append(engine.engine_id)

    def resident_bytes(self, engine: Engine) -> int:
        return self.resident.get(engine.engine_id, 0)


@dataclass
class Disk:
    """Keeps nothing; fails when it is told to."""

    is_failing: bool = False
    size: int = 0
    unwritten_bytes: int = 0
    unsynced_seconds: float = 0.0


class Pool:
    """A dispatcher, what it has said to whom, and an engine process for each post."""

    def __init__(
        self,
        *entries: CatalogEntry,
        queue_length: int = 100,
        client_limit: int = 100,
        memory_budget: int | None = None,
        devices: Iterable[Device] = (),
        idle_unload_seconds: float = 0.0,
        queue_seconds: float = 600.0,
        generation_seconds: float = 3600.0,
    ) -> None:
        self._given = (
            entries,
            {
                "queue_length": queue_length,
                "client_limit": client_limit,
                "memory_budget": memory_budget,
                "devices": tuple(devices),
                "idle_unload_seconds": idle_unload_seconds,
                "queue_seconds": queue_seconds,
                "generation_seconds": generation_seconds,
            },
        )
        self.now = 1000.0
        self.disk = Disk()
        self.keeper = Keeper()
        self.line = WaitingLine(queue_length=queue_length, client_limit=client_limit)
        machine = Machine(host_budget=memory_budget, devices=tuple(devices), device_share=1.0)
        catalog = Catalog(list(entries) or [entry()], machine=machine)
        self.roster = Roster(catalog)
        for each in catalog.entries:
            if each.is_loaded_at_start:
                self.roster.ensure(each)
        self.dispatcher = Dispatcher(
            catalog,
            self.roster,
            self.line,
            epoch=EPOCH,
            processes=self.keeper,
            journal=self.disk,
            idle_unload_seconds=idle_unload_seconds,
            queue_seconds=queue_seconds,
            generation_seconds=generation_seconds,
        )
        # What the pool has kept, turn by turn.
        self.kept: list[Record] = []
        self.heard: dict[bytes, list[PoolToWeb]] = defaultdict(list)
        self.told: dict[str, list[PoolToEngine]] = defaultdict(list)
        self._engine_count = 0

    def killed(self, *entries: CatalogEntry, **changed: object) -> "Pool":
        """The pool that comes after this one was killed, with what it had kept. It has met no engine yet."""
        before, settings = self._given
        pool = Pool(*(entries or before), **settings | changed)
        pool.now = self.now
        pool.kept = list(self.kept)
        # Engines that live on have other ids than those to come.
        pool._engine_count = self._engine_count
        recording = Recording()
        for record in self.kept:
            recording.take(record, record.at)
        assert recording.problems == []
        pool.dispatcher.restore(recording.generations.values(), pool.now)
        pool._deliver()
        return pool

    # --- engines ---

    @property
    def posts(self) -> list[Engine]:
        return list(self.roster)

    def start_engine(self, post: int = 0, *, is_ready: bool = True) -> str:
        """A process takes the post, connects and, where wanted, is ready."""
        self._engine_count += 1
        engine_id = f"7-{self._engine_count}"
        engine = self.posts[post]
        engine.started(engine_id, 5000 + self._engine_count, self.now)
        self.from_engine(engine_id, EngineHello(engine_id=engine_id, pid=engine.pid, model=engine.entry.name))
        if is_ready:
            self.beat(engine_id)
        return engine_id

    def beat(self, engine_id: str, *, is_ready: bool = True, load_fraction: float = 1.0, memory_bytes: int = 1) -> None:
        engine = self.roster.find(engine_id)
        beat = heartbeat(
            capacity=engine.place.slots if engine else 2,
            is_ready=is_ready,
            load_fraction=load_fraction,
            leases=engine.leases if engine else (),
            memory_bytes=memory_bytes,
        )
        self.from_engine(engine_id, beat)

    def start_wanted(self, *, is_ready: bool = True) -> list[str]:
        """A process takes each post that the pool wants one on; the models."""
        wanted = self.dispatcher.engines_to_start(self.now)
        for engine in wanted:
            self.start_engine(self.posts.index(engine), is_ready=is_ready)
        return [engine.entry.name for engine in wanted]

    def end_stopped(self) -> list[str]:
        """The processes that were told to stop end; their models."""
        stopped = [
            engine
            for engine in self.posts
            if EngineStop() in self.told[engine.engine_id] or engine.engine_id in self.keeper.killed
        ]
        ended = [engine.entry.name for engine in stopped if engine.is_started]
        for engine in stopped:
            if engine.is_started:
                self.lose_engine(self.posts.index(engine))
        return ended

    def engine_of(self, model: str) -> Engine:
        return self.roster.of_model(model)[0]

    def lose_engine(self, post: int = 0, *, is_crash: bool = True) -> None:
        """The engine's process has ended, by itself or because somebody killed it."""
        self.posts[post].has_crashed = is_crash
        self.dispatcher.lose_engine(self.posts[post], self.now)
        self._deliver()

    def fail_to_load(self, post: int = 0) -> None:
        """A process takes the post when it may, says that it cannot load, and ends."""
        self.now = max(self.now, self.posts[post].start_due_at)
        engine_id = self.start_engine(post, is_ready=False)
        self.from_engine(engine_id, LoadFailed("no weights"))
        self.lose_engine(post)

    def from_engine(self, engine_id: str, message: object) -> None:
        self.dispatcher.from_engine(engine_id, message, self.now)
        self._deliver()

    def dispatches(self, engine_id: str) -> list[Dispatch]:
        return [message for message in self.told[engine_id] if isinstance(message, Dispatch)]

    def running(self, engine_id: str) -> dict[str, Dispatch]:
        """What this engine runs, by generation: what it was given and not told to drop."""
        running: dict[str, Dispatch] = {}
        for message in self.told[engine_id]:
            match message:
                case Dispatch():
                    running[message.generation_id] = message
                case AbortLease() if message.generation_id in running:
                    if running[message.generation_id].lease == message.lease:
                        del running[message.generation_id]
                case EnginePing():
                    running = {name: each for name, each in running.items() if each.lease in message.leases}
                case EngineStop():
                    running = {}
        return running

    def event(self, engine_id: str, generation_id: str, event: EngineEvent, *, lease: int | None = None) -> None:
        """The engine says this of the generation, under its last lease where none is named."""
        if lease is None:
            lease = next(d.lease for d in reversed(self.dispatches(engine_id)) if d.generation_id == generation_id)
        self.from_engine(engine_id, StepEvents([LeaseEvent(generation_id, lease, event)]))

    def token(self, engine_id: str, generation_id: str, position: int) -> None:
        self.event(engine_id, generation_id, Delta(position, f"{position} ", (position,)))

    def finish(self, engine_id: str, generation_id: str, *, tokens: int = 0) -> None:
        self.event(engine_id, generation_id, Finished("stop", Usage(1, tokens)))

    # --- web processes ---

    def get_on(self, loads: dict[str, int], *, load_turns: int) -> None:
        """The first that runs on each engine ends; those that load are ready after so many turns (`loads`)."""
        for engine in self.posts:
            if engine.is_ready:
                for generation in list(engine.leases.values())[:1]:
                    self.finish(engine.engine_id, generation.generation_id)
            elif engine.is_started:
                loads[engine.engine_id] = loads.get(engine.engine_id, 0) + 1
                self.beat(engine.engine_id, is_ready=loads[engine.engine_id] > load_turns)
            if engine.is_started:
                self.beat(engine.engine_id, is_ready=engine.is_ready)

    def from_web(self, message: object, reader: bytes = WEB) -> None:
        self.dispatcher.from_web(reader, message, self.now)
        self._deliver()

    def ask(self, question: object, reader: bytes = WEB) -> Answer:
        """The answer to a question."""
        before = len(self.heard[reader])
        self.from_web(question, reader)
        return next(message for message in self.heard[reader][before:] if isinstance(message, Answer))

    def submit(self, generation_id: str, *, reader: bytes = WEB, **given: object) -> Answer:
        return self.ask(submit(generation_id, **given), reader)

    def attach(self, generation_id: str, *, after: int = 0, owner: str = OWNER, reader: bytes = WEB) -> Answer:
        return self.ask(Attach(ask=2, generation_id=generation_id, owner=owner, after=after), reader)

    def detach(self, generation_id: str, *, reader: bytes = WEB) -> None:
        self.from_web(Detach(generation_id), reader)

    def abort(self, generation_id: str, *, owner: str = OWNER, reader: bytes = WEB) -> Answer:
        return self.ask(Abort(ask=3, generation_id=generation_id, owner=owner), reader)

    def hello(self, reader: bytes = WEB) -> None:
        self.from_web(WebHello(1, 2), reader)

    def state(self, *, probe: bool = False) -> PoolState:
        state = self.ask(AskState(ask=4, probe=probe), b"operator")
        assert isinstance(state, PoolState)
        return state

    def published(self, generation_id: str, reader: bytes = WEB) -> list[Published]:
        return [m for m in self.heard[reader] if isinstance(m, Published) and m.generation_id == generation_id]

    def numbered(self, generation_id: str, reader: bytes = WEB) -> list[tuple[int, object]]:
        """The kept events this web process has got, as pairs of event id and event."""
        return [(m.event_id, m.event) for m in self.published(generation_id, reader) if m.event_id]

    def statuses(self, generation_id: str, reader: bytes = WEB) -> list[object]:
        return [m.event for m in self.published(generation_id, reader) if not m.event_id]

    def ends(self, generation_id: str, reader: bytes = WEB) -> list[Finished | Failed]:
        return [event for _, event in self.numbered(generation_id, reader) if isinstance(event, Finished | Failed)]

    # --- time ---

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.dispatcher.pass_time(self.now)
        self._deliver()

    def _deliver(self) -> None:
        turn = self.dispatcher.outbox.take()
        self.kept.append(Record(self.now, turn.rows))
        for reader, messages in turn.to_web.items():
            self.heard[reader] += messages
        for engine_id, message in turn.to_engines:
            self.told[engine_id].append(message)


def serving(*, engines: int = 1, slots: int = 2, **limits: int) -> tuple[Pool, list[str]]:
    """A pool whose engines are ready, and their ids."""
    pool = Pool(entry(slots=slots, engines=engines), **limits)
    return pool, [pool.start_engine(post) for post in range(engines)]


def ids(numbered: Iterable[tuple[int, object]]) -> list[int]:
    return [event_id for event_id, _ in numbered]


def text(numbered: Iterable[tuple[int, object]]) -> str:
    return "".join(event.text for _, event in numbered if isinstance(event, Delta))
