"""Which engines are loaded: who starts, who unloads, within the memory budget. Knows no sockets and no processes.

Engines of models that are loaded at the start stay. Any other starts when somebody waits for its model, and ends
after an idle time, or when its memory is wanted: idle engines first, the longest unused first of all; then
engines that run something, which take nobody who came after the one who waits, and end when they have nothing left.
Those who wait for memory are served in the order of their arrival, and an engine is never unloaded before it has
served those it was loaded for. For a model that has failed to load again and again nobody is unloaded.
"""

import logging
import math
from dataclasses import dataclass

from webapp.catalog import Catalog, CatalogEntry
from webapp.pool.outbox import Outbox
from webapp.pool.roster import Engine, EngineKeeper, Roster, load_failure
from webapp.pool.waiting_line import WaitingLine
from webapp.wire.messages import EngineStop

log = logging.getLogger(__name__)


@dataclass
class _Plan:
    """Posts that may start now, models that wait for memory in the order of arrival, bytes that have to come free."""

    startable: list[Engine]
    blocked: list[str]
    wanted_bytes: float


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

    def taken_bytes(self, engine: Engine) -> int:
        """What counts against the budget: what the engine is said to take, or more where it has grown past that."""
        if engine.is_remote:
            return 0
        if engine.is_ready:
            return max(engine.needed_bytes, self._measured_bytes(engine))
        # While it loads it takes more for a moment, which nobody is to be unloaded for.
        return engine.needed_bytes if engine.is_started or not engine.is_on_demand else 0

    def obstacle(self, entry: CatalogEntry) -> str | None:
        """Why no engine of this model can be loaded, whoever makes room; None where one is, or can be."""
        if self._has_engine(entry.name):
            return None
        obstacle = self._catalog.obstacle(entry)
        if obstacle or entry.is_loaded_at_start:
            return obstacle
        if self._has_failed_often(entry.name) and entry.needed_bytes > self._free_bytes():
            return f"{load_failure(entry.name)} It is tried again once memory is free."
        # Those that stay may have grown past what they are said to take.
        kept = sum(self.taken_bytes(engine) for engine in self._roster if not engine.is_on_demand)
        return self._catalog.memory_obstacle(entry, kept_bytes=kept)

    def is_blocked(self, model: str) -> bool:
        """Whether those who wait for this model wait for memory that others still take."""
        return model in self._blocked

    def engines_to_start(self, now: float) -> list[Engine]:
        """The vacant posts on which an engine should be now."""
        due = [engine for engine in self._roster if _is_due(engine, now)]
        at_start = [engine for engine in due if not engine.is_on_demand]
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
        failing = {model for model in self._line.models() if self._has_failed_often(model)}
        return resumed | blocked | changed | failing

    def _plan(self, now: float) -> _Plan:
        free = self._free_bytes()
        startable: list[Engine] = []
        models = self._line.models()
        for place, model in enumerate(models):
            has_engine = self._has_engine(model)
            for engine in self._roster.of_model(model):
                if not engine.is_on_demand or not _is_due(engine, now):
                    continue
                if engine.needed_bytes <= free:
                    startable.append(engine)
                    free -= engine.needed_bytes
                    has_engine = True
                elif not has_engine and not engine.has_failed_often:
                    # Nobody behind takes what the first one waits for.
                    return _Plan(startable, models[place:], engine.needed_bytes - free)
        return _Plan(startable, [], -free)

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
        loaded = sum(engine.is_started for engine in self._roster)
        victims: list[Engine] = []
        wanted_bytes = plan.wanted_bytes
        for engine in candidates:
            # The only one would be loaded again for the next who comes, and be as large.
            is_last = since is None and len(victims) + 1 == loaded
            if wanted_bytes > 0 and not is_last:
                victims.append(engine)
                wanted_bytes -= self.taken_bytes(engine)
        return victims

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

    def _free_bytes(self) -> float:
        budget = self._catalog.memory_budget
        return math.inf if budget is None else budget - sum(map(self.taken_bytes, self._roster))

    def _has_engine(self, model: str) -> bool:
        return any(engine.is_started for engine in self._roster.of_model(model))

    def _has_failed_often(self, model: str) -> bool:
        posts = self._roster.of_model(model)
        return bool(posts) and all(engine.has_failed_often for engine in posts)

    def _is_at_start(self, model: str) -> bool:
        return self._catalog.find(model).is_loaded_at_start

    def _on_demand(self) -> list[Engine]:
        return [engine for engine in self._roster if engine.is_on_demand and engine.is_started]

    def _measured_bytes(self, engine: Engine) -> int:
        beat = engine.heartbeat
        on_device = beat.memory_bytes if beat and beat.device.startswith("cuda") else 0
        return self._processes.resident_bytes(engine) + on_device


def _is_due(engine: Engine, now: float) -> bool:
    return not engine.is_started and now >= engine.start_due_at
