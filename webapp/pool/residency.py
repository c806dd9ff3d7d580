"""Which engines are loaded: who starts, who unloads, within the memory budgets. Knows no sockets and no processes.

There is one budget for the machine's own memory and one for each CUDA device's; an engine on a device takes of both.

Engines of models that are loaded at the start stay. Any other starts when somebody waits for its model, and ends
after an idle time, or when its memory is wanted: idle engines first, the longest unused first of all; then
engines that run something, which take nobody who came after the one who waits, and end when they have nothing left.
Those who wait for memory are served in the order of their arrival: nobody behind takes what they need, only what they
leave, as on another device. An engine is never unloaded before it has served those it was loaded for. For a model that
has failed to load again and again nobody is unloaded.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from webapp.catalog import Catalog, CatalogEntry
from webapp.devices import CPU
from webapp.placement import Amounts
from webapp.pool.outbox import Outbox
from webapp.pool.roster import Engine, EngineKeeper, Roster, load_failure
from webapp.pool.waiting_line import WaitingLine
from webapp.wire.messages import EngineStop, MemoryState

log = logging.getLogger(__name__)


@dataclass
class _Plan:
    """Posts that may start now, and models that wait for memory in the order of arrival.

    `wanted` are bytes that have to come free for the first of them, by whose memory they are: one of these would do.
    """

    startable: list[Engine]
    blocked: list[str]
    wanted: list[dict[str, float]]


class Residency:
    """The policy over the roster's posts. `idle_unload_seconds` of 0 is never."""

    def __init__(
        self,
        catalog: Catalog,
        roster: Roster,
        line: WaitingLine,
        outbox: Outbox,
        *,
        processes: EngineKeeper,
        idle_unload_seconds: float,
    ) -> None:
        self._catalog = catalog
        self._roster = roster
        self._line = line
        self._idle_unload_seconds = idle_unload_seconds
        self._outbox = outbox
        self._processes = processes
        # Models whose engine waits for memory.
        self._blocked: set[str] = set()

    # --- what others ask ---------------------------------------------------------------------------

    def taken(self, engine: Engine) -> Amounts:
        """What counts against the budgets: what the engine is said to take, or more where it has grown past that."""
        needed = engine.place.needed
        if engine.is_ready and CPU in needed:
            # Of the machine's own memory. What one takes more of a CUDA device than was planned comes out of the share
            # that nobody plans with. To unload it for that would only be to load it again, and where nothing is left
            # one of its generations fails.
            return {**needed, CPU: max(needed[CPU], self._processes.resident_bytes(engine))}
        # While it loads it takes more for a moment, which nobody is to be unloaded for.
        return needed if engine.is_started or not engine.is_on_demand else {}

    def memories(self) -> list[MemoryState]:
        """Each memory with its budget and what is taken of it."""
        taken = self._total(self._roster)
        machine = self._catalog.machine
        titles = {device.name: device.title for device in machine.devices}
        return [
            MemoryState(device=name, title=titles.get(name, ""), budget_bytes=budget, taken_bytes=taken[name])
            for name, budget in machine.budgets.items()
        ]

    def obstacle(self, entry: CatalogEntry) -> str | None:
        """Why no engine of this model can be loaded, whoever makes room; None where one is, or can be."""
        if self._has_engine(entry.name):
            return None
        obstacle = self._catalog.obstacle(entry)
        if obstacle or entry.is_loaded_at_start:
            return obstacle
        posts = self._roster.of_model(entry.name)
        if self._has_failed_often(entry.name) and not any(_fits(post, self._free()) for post in posts):
            return f"{load_failure(entry.name)} It is tried again once memory is free."
        # Those that stay may have grown past what they are said to take.
        kept = self._total(engine for engine in self._roster if not engine.is_on_demand)
        return self._catalog.memory_obstacle(entry, kept=kept)

    def is_blocked(self, model: str) -> bool:
        """Whether those who wait for this model wait for memory that others still take."""
        return model in self._blocked

    def engines_to_start(self, now: float) -> list[Engine]:
        """The vacant posts on which an engine should be now."""
        due = [engine for engine in self._roster if _is_due(engine, now)]
        at_start = [engine for engine in due if not engine.is_on_demand and not self._catalog.obstacle(engine.entry)]
        is_wanted = any(self._is_waited_for(engine) for engine in due if engine.is_on_demand)
        return at_start + (self._plan(now).startable if is_wanted else [])

    # --- the review --------------------------------------------------------------------------------

    def review(self, now: float) -> set[str]:
        """Unload what is idle or in the way; called a few times a second.

        Returns the models to dispatch anew: those that wait for an engine, and those whose engine may take more.
        """
        for engine in self._roster:
            if engine.is_in_use:
                engine.last_used_at = now
        plan = self._plan(now)
        blocked = {model for model in plan.blocked if not self._has_engine(model) and not self._is_at_start(model)}
        changed, self._blocked = self._blocked ^ blocked, blocked
        resumed = self._claim_memory(plan, now)
        for engine in self._on_demand():
            if not engine.is_in_use and not engine.is_stopping and (engine.is_draining or self._is_idle(engine, now)):
                self._stop(engine)
        waiting = self._line.models()
        failing = {model for model in waiting if self._has_failed_often(model)}
        # An earlier pool may have taken them, on a machine that had a device and room for them.
        homeless = {model for model in waiting if not self._roster.of_model(model) or self._cannot_run(model)}
        return resumed | blocked | changed | failing | homeless

    def _plan(self, now: float) -> _Plan:
        free = self._free()
        startable: list[Engine] = []
        blocked: list[str] = []
        wanted: list[dict[str, float]] = []
        for model in self._line.models():
            has_engine = self._has_engine(model)
            for engine in self._due_on_demand(model, free, now):
                if not self._is_justified(engine, startable):
                    continue
                if _fits(engine, free):
                    startable.append(engine)
                    free = {memory: free[memory] - engine.place.needed.get(memory, 0) for memory in free}
                    has_engine = True
            able = [engine for engine in self._due_on_demand(model, free, now) if not engine.has_failed_often]
            if able and not has_engine:
                wanted = wanted or _unlike([_lack(engine, free) for engine in able])
                blocked.append(model)
                free = _left_behind(able, free)
        if not blocked:
            wanted = [{memory: -size for memory, size in free.items() if size < 0}]
        return _Plan(startable, blocked, wanted)

    def _due_on_demand(self, model: str, free: dict[str, float], now: float) -> list[Engine]:
        """The model's vacant posts that may start, that on the device with most room first, on the processor last."""
        due = [engine for engine in self._roster.of_model(model) if engine.is_on_demand and _is_due(engine, now)]
        return sorted(due, key=lambda engine: (engine.place.device == CPU, -free.get(engine.place.device, 0.0)))

    def _is_justified(self, engine: Engine, startable: list[Engine]) -> bool:
        """Whether more wait than find a place on the other devices; those of one device start together."""
        others = [post for post in self._roster.of_model(engine.entry.name) if post.is_started or post in startable]
        if not others or any(post.place.device == engine.place.device for post in others):
            return True
        coming = sum(max(0, post.room) if post.is_ready else post.place.slots for post in others)
        return self._line.length(engine.entry.name) > coming

    def _claim_memory(self, plan: _Plan, now: float) -> set[str]:
        """Mark the engines whose memory is wanted, and no others; the models of those that may take more than before.

        They take nothing new, or where some of their own came before whoever waits, only these.
        """
        since = self._line.waiting_since(plan.blocked[0]) if plan.blocked else None
        victims = self._victims(plan, since, now)
        resumed: set[str] = set()
        for engine in self._on_demand():
            before, engine.takes_until = engine.takes_until, math.inf
            if engine in victims:
                engine.takes_until = since if since is not None and self._serves_first(engine, since) else -math.inf
            if engine.takes_until > before:
                resumed.add(engine.entry.name)
        return resumed

    def _victims(self, plan: _Plan, since: float | None, now: float) -> list[Engine]:
        """The engines that have to go for who has waited since then; None: nobody waits, and all take too much."""
        candidates = [engine for engine in self._on_demand() if self._is_dispensable(engine, since, now)]
        # Whoever goes already goes on; then idle ones, the longest unused first; then whoever is about to go anyway.
        candidates.sort(
            key=lambda engine: (
                not engine.is_stopping,
                self._serves_first(engine, since),
                engine.is_in_use,
                not engine.is_draining,
                engine.last_used_at,
            )
        )
        # Where more than one device would do: the one whose engines can be spared best.
        ways = [self._enough_of(candidates, wanted, since) for wanted in plan.wanted]
        _, victims = min(ways, key=lambda way: (not way[0], *self._hardship(way[1], since)))
        return victims

    def _enough_of(
        self, candidates: list[Engine], wanted: dict[str, float], since: float | None
    ) -> tuple[bool, list[Engine]]:
        """Whether these engines have what is wanted, and the first of them that have."""
        left = dict(wanted)
        loaded = sum(engine.is_started and _takes_any(engine, wanted) for engine in self._roster)
        victims: list[Engine] = []
        for engine in candidates:
            # The only one would be loaded again for the next who comes, and be as large.
            is_last = since is None and len(victims) + 1 == loaded
            if not is_last and any(size > 0 for memory, size in left.items() if engine.place.needed.get(memory)):
                victims.append(engine)
                taken = self.taken(engine)
                left = {memory: size - taken.get(memory, 0) for memory, size in left.items()}
        return all(size <= 0 for size in left.values()), victims

    def _hardship(self, victims: list[Engine], since: float | None) -> tuple[int, int, int, float]:
        """How hard it is to do without these: less where they go already, are idle, and have long been unused."""
        return (
            sum(self._serves_first(engine, since) for engine in victims),
            sum(engine.is_in_use for engine in victims),
            sum(not engine.is_stopping for engine in victims),
            max((engine.last_used_at for engine in victims), default=0.0),
        )

    def _is_dispensable(self, engine: Engine, since: float | None, now: float) -> bool:
        if engine.is_stopping:
            return True
        is_waited_for = self._is_waited_for(engine)
        if not engine.is_ready:
            return not is_waited_for
        if not engine.is_in_use and not is_waited_for:
            return True
        # It serves at least as long as it has loaded, so that at most half of the time goes into loading.
        return since is not None and now - engine.ready_at >= engine.ready_at - engine.started_at

    def _serves_first(self, engine: Engine, since: float | None) -> bool:
        """Whether some who wait for it came before the one who has waited for its memory since then."""
        own_since = self._line.waiting_since(engine.entry.name)
        return since is not None and own_since is not None and own_since <= since

    def _is_idle(self, engine: Engine, now: float) -> bool:
        if not self._idle_unload_seconds or not engine.is_ready or self._is_waited_for(engine):
            return False
        return now - engine.last_used_at >= self._idle_unload_seconds

    def _is_waited_for(self, engine: Engine) -> bool:
        return self._line.waiting_since(engine.entry.name) is not None

    def _stop(self, engine: Engine) -> None:
        log.info("engine %s is to end: %s is unloaded", engine.engine_id, engine.entry.name)
        engine.is_stopping = True
        if engine.is_ready:
            self._outbox.send(engine.engine_id, EngineStop())
        else:
            # While it loads it hears nothing.
            self._processes.kill(engine)

    def _free(self) -> dict[str, float]:
        return self._catalog.machine.room(self._total(self._roster))

    def _total(self, engines: Iterable[Engine]) -> Counter[str]:
        total = Counter[str]()
        for engine in engines:
            total.update(self.taken(engine))
        return total

    def _has_engine(self, model: str) -> bool:
        return any(engine.is_started for engine in self._roster.of_model(model))

    def _has_failed_often(self, model: str) -> bool:
        posts = self._roster.of_model(model)
        return bool(posts) and all(engine.has_failed_often for engine in posts)

    def _cannot_run(self, model: str) -> bool:
        return self._catalog.obstacle(self._catalog.find(model)) is not None

    def _is_at_start(self, model: str) -> bool:
        return self._catalog.find(model).is_loaded_at_start

    def _on_demand(self) -> list[Engine]:
        return [engine for engine in self._roster if engine.is_on_demand and engine.is_started]


def _is_due(engine: Engine, now: float) -> bool:
    return not engine.is_started and now >= engine.start_due_at


def _fits(engine: Engine, free: dict[str, float]) -> bool:
    return all(size <= free[memory] for memory, size in engine.place.needed.items())


def _lack(engine: Engine, free: dict[str, float]) -> dict[str, float]:
    """What has to come free for it."""
    return {memory: size - free[memory] for memory, size in engine.place.needed.items() if size > free[memory]}


def _left_behind(waiting: list[Engine], free: dict[str, float]) -> dict[str, float]:
    """What those behind may take: nothing of what these wait for, nor what one of them needs besides."""
    lacking = {memory for engine in waiting for memory in _lack(engine, free)}
    needed = {memory: max(engine.place.needed.get(memory, 0) for engine in waiting) for memory in free}
    return {memory: -math.inf if memory in lacking else size - needed[memory] for memory, size in free.items()}


def _takes_any(engine: Engine, wanted: dict[str, float]) -> bool:
    return any(engine.place.needed.get(memory) for memory in wanted)


def _unlike(wants: list[dict[str, float]]) -> list[dict[str, float]]:
    """Each of them once."""
    return [want for index, want in enumerate(wants) if want not in wants[:index]]
