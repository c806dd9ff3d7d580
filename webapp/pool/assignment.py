"""Which engine runs which generation: gives, takes back, shares fairly, and finds out whose fault a loss is.

Knows no sockets and no web processes.
"""

import itertools
import logging
import secrets
from collections import Counter

from webapp.pool.endings import Endings
from webapp.pool.generation_log import Generation
from webapp.pool.metrics import Metrics
from webapp.pool.outbox import Outbox
from webapp.pool.residency import Residency
from webapp.pool.roster import Engine, Roster, load_failure
from webapp.pool.waiting_line import WaitingLine
from webapp.wire.generation import Failed, Loading, Queued
from webapp.wire.messages import AbortLease, Dispatch, EngineHeartbeat

log = logging.getLogger(__name__)

# A dispatch and its answer take no longer than this between an engine that is not busy and the pool.
SETTLED_SECONDS = 2.0
# To order a line that is longer takes the pool milliseconds: too much for each who comes.
LONG_LINE = 128


def _hardship(generation: Generation, shares: Counter[str]) -> tuple[int, int, int]:
    """How hard it is on a running generation to give way: less on large shares, short texts, and the youngest."""
    assert generation.lease is not None
    return -shares[generation.submit.client], len(generation.token_ids), -generation.lease


class Assignment:
    """Brings the line's generations to the roster's engines. Every dispatch has a fresh lease."""

    def __init__(
        self,
        roster: Roster,
        line: WaitingLine,
        residency: Residency,
        endings: Endings,
        outbox: Outbox,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._roster = roster
        self._line = line
        self._residency = residency
        self._endings = endings
        self._outbox = outbox
        # Models whose long line has changed since those in it were told.
        self._untold: set[str] = set()
        # Engines whose last heartbeat lacked some of their leases: of all others a glance at the set of them is enough.
        self._doubted: set[str] = set()
        # A random start, so that no lease of an earlier pool is taken for one of this pool's.
        self._leases = itertools.count(secrets.randbits(40) << 20)

    def dispatch_waiting(self, model: str, now: float) -> None:
        """Give what waits for this model to engines that have room; tell the others where they stand."""
        engines = self._roster.of_model(model)
        if engines and all(engine.is_hopeless(now) for engine in engines):
            self.fail_waiting(model, load_failure(model), now)
        while self._line.length(model) and (
            self._dispatch_next(model, engines, now) or self._share(model, engines, now)
        ):
            pass
        self.publish_places(model)

    def fail_waiting(self, model: str, reason: str, now: float) -> None:
        """All that wait for this model wait in vain."""
        for generation in self._line.in_order(model):
            self._endings.fail(generation, "ModelUnavailable", reason, now)

    def give(self, engine: Engine, generation: Generation, now: float) -> None:
        """Have the engine run it, from where it stands."""
        lease = next(self._leases)
        generation.engine_id, generation.lease = engine.engine_id, lease
        generation.is_interrupted = False
        generation.given_at, generation.missing_beats = now, 0
        engine.leases[lease] = generation
        if not generation.is_probe:
            engine.last_used_at = now
        dispatch = Dispatch(
            generation_id=generation.generation_id,
            lease=lease,
            request=generation.submit.request,
            token_ids=tuple(generation.token_ids),
        )
        self._outbox.send(engine.engine_id, dispatch)

    def take_back(self, engine: Engine, generation: Generation) -> None:
        """The engine is to drop it; what it still says of it is fenced off."""
        assert generation.lease is not None
        self._outbox.send(engine.engine_id, AbortLease(generation.generation_id, generation.lease))
        del engine.leases[generation.lease]

    def find_missing(self, engine: Engine, heartbeat: EngineHeartbeat, now: float) -> bool:
        """Take back what the engine was given long ago and does not have: it, or its end, was lost on the way."""
        if heartbeat.turn_age > SETTLED_SECONDS / 2:
            # Its main loop has not taken what has come in since.
            return False
        held = frozenset(heartbeat.leases)
        if engine.engine_id not in self._doubted and engine.leases.keys() <= held:
            return False
        before = len(engine.leases)
        for lease, generation in list(engine.leases.items()):
            is_missing = lease not in held and now - generation.given_at > SETTLED_SECONDS
            generation.missing_beats = generation.missing_beats + 1 if is_missing else 0
            # A heartbeat may come before an end that the engine has already told; the next one does not.
            if generation.missing_beats < 2:
                continue
            log.warning("engine %s does not have generation %s", engine.engine_id, generation.generation_id)
            self.take_back(engine, generation)
            if not generation.is_probe:
                self.interrupt(generation, now, is_crash=False)
        if any(generation.missing_beats for generation in engine.leases.values()):
            self._doubted.add(engine.engine_id)
        else:
            self._doubted.discard(engine.engine_id)
        return len(engine.leases) < before

    def interrupt(self, generation: Generation, now: float, *, is_crash: bool) -> None:
        """What ran it is lost: it goes on elsewhere; where it is the one that loses engines, it fails alone."""
        generation.note_loss(is_crash=is_crash)
        if generation.is_poison:
            # There is no engine any more to be told.
            self._endings.end(generation, Failed("EngineLost", "Engines were lost under this generation."), now)
            return
        self._metrics.redispatched(generation)
        self._put_back(generation)
        generation.is_interrupted = True

    def publish_places(self, model: str) -> None:
        """Tell those that wait where they stand, where that has changed; a long line learns it with `pass_time`."""
        if self._line.length(model) > LONG_LINE:
            self._untold.add(model)
        else:
            self._publish_places(model)

    def pass_time(self) -> None:
        """Called a few times a second."""
        untold, self._untold = self._untold, set()
        for model in untold:
            self._publish_places(model)

    def _publish_places(self, model: str) -> None:
        waiting = self._line.in_order(model)
        if not waiting:
            return
        engines = self._roster.of_model(model)
        is_queued = any(engine.is_ready for engine in engines) or self._residency.is_blocked(model)
        fraction = max((engine.load_fraction for engine in engines), default=0.0)
        for place, generation in enumerate(waiting, start=1):
            self._outbox.publish_status(generation, Queued(place) if is_queued else Loading(fraction))

    def _dispatch_next(self, model: str, engines: list[Engine], now: float) -> bool:
        """Give the next generation to the engine with most room; False where nothing can be given."""
        # Nothing joins a suspect, so that the one that loses engines is found and fails alone.
        able = [engine for engine in engines if engine.room > 0 and not engine.has_suspect]
        for generation in self._line.in_order(model) if able else ():
            takers = [engine for engine in able if engine.room_for(generation.accepted_at)]
            if takers:
                self._take_from_line(generation, now)
                self.give(max(takers, key=lambda engine: engine.room), generation, now)
                return True
        return False

    def _share(self, model: str, engines: list[Engine], now: float) -> bool:
        """Where no engine has room: put a generation of whoever runs most back, for one of whoever runs fewer.

        Only where that makes the shares more equal, so that it comes to an end. The one that gives way has made the
        fewest tokens, which are read again when its turn comes; its reader sees a pause.
        """
        running = [
            (engine, generation)
            for engine in engines
            if not engine.has_suspect
            for generation in engine.leases.values()
            if not generation.is_probe
        ]
        shares = Counter(generation.submit.client for _, generation in running)
        most = max(shares.values(), default=0)
        if all(shares[client] + 2 > most for client in self._line.clients(model)):
            return False
        for generation in self._line.in_order(model):
            fewer_than = shares[generation.submit.client] + 2
            able = [
                (engine, other)
                for engine, other in running
                if shares[other.submit.client] >= fewer_than and engine.is_open_to(generation.accepted_at)
            ]
            if able:
                engine, victim = min(able, key=lambda pair: _hardship(pair[1], shares))
                self._metrics.preempted(victim)
                self.take_back(engine, victim)
                self._put_back(victim)
                self._take_from_line(generation, now)
                self.give(engine, generation, now)
                return True
        return False

    def _take_from_line(self, generation: Generation, now: float) -> None:
        self._metrics.dispatched(generation, now)
        self._line.take(generation)
        generation.dispatched_at = generation.dispatched_at or now

    def _put_back(self, generation: Generation) -> None:
        generation.engine_id = generation.lease = None
        self._line.put_back(generation)
