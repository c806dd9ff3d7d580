"""The pool's mind: takes messages from web processes and engines, decides, and puts answers into the outbox.

Knows generations, the line and the roster; knows no sockets and no processes, and is given the time.
"""

import itertools
import logging
import os
import secrets

import msgspec

from webapp.catalog import Catalog, ModelNotFound
from webapp.pool.generation_log import Generation, ReaderId, make_probe
from webapp.pool.generation_store import GenerationStore, is_same_owner
from webapp.pool.outbox import Outbox
from webapp.pool.readers import Readers
from webapp.pool.residency import Residency
from webapp.pool.roster import Engine, EngineKeeper, Roster
from webapp.pool.waiting_line import Refusal, WaitingLine
from webapp.wire.generation import Delta, Failed, Finished, Loading, Queued, Started
from webapp.wire.messages import (
    Abort,
    AbortLease,
    Accepted,
    AskState,
    Attach,
    Detach,
    Dispatch,
    EngineHeartbeat,
    EngineHello,
    EnginePing,
    EngineStop,
    EngineToPool,
    Gone,
    LeaseEvent,
    LoadFailed,
    PoolState,
    Refused,
    StepEvents,
    Submit,
    WebHello,
    WebToPool,
)

log = logging.getLogger(__name__)

# A generation under which this many engines were lost in a row, without a token between, fails.
POISON_AFTER = 2
# An engine that made a token this recently needs no probe.
PROBE_AFTER_SECONDS = 5.0


class Dispatcher:
    """All state of the pool. `epoch` names this pool process."""

    def __init__(
        self,
        catalog: Catalog,
        roster: Roster,
        line: WaitingLine,
        *,
        epoch: str,
        processes: EngineKeeper,
        idle_unload_seconds: float,
    ) -> None:
        self.outbox = Outbox()
        self.epoch = epoch
        self._catalog = catalog
        self._roster = roster
        self._line = line
        self._processes = processes
        self._generations = GenerationStore()
        self._readers = Readers(self._generations, self.outbox, epoch=epoch)
        self._residency = Residency(
            catalog, roster, line, self.outbox, processes=processes, idle_unload_seconds=idle_unload_seconds
        )
        # A random start, so that no lease of an earlier pool is taken for one of this pool's.
        self._leases = itertools.count(secrets.randbits(40) << 20)

    # --- from web processes ------------------------------------------------------------------------

    def from_web(self, reader: ReaderId, message: WebToPool, now: float) -> None:
        """Take one message of a web process."""
        match message:
            case WebHello():
                self._readers.hello(reader, message, now)
            case Submit():
                self._submit(reader, message, now)
            case Attach():
                self._readers.attach(reader, message)
            case Detach():
                if generation := self._generations.find(message.generation_id):
                    self._readers.remove(reader, generation, now)
                    self._abort_if_abandoned(generation, now)
            case Abort():
                generation = self._generations.owned(message.generation_id, message.owner)
                if generation:
                    self._abort(generation, "stopped", now)
                self.outbox.reply(reader, Accepted(ask=message.ask) if generation else Gone(ask=message.ask))
            case AskState():
                if message.probe:
                    self._probe(now)
                self.outbox.reply(reader, self._state(message.ask, now))

    def _submit(self, reader: ReaderId, submit: Submit, now: float) -> None:
        if generation := self._generations.find(submit.generation_id):
            self._submit_again(reader, submit, generation)
            return
        try:
            entry = self._catalog.find(submit.request.model)
        except ModelNotFound:
            self._refuse(reader, submit, Refusal("ModelNotFound", f"No such model {submit.request.model}"))
            return
        if obstacle := self._residency.obstacle(entry):
            self._refuse(reader, submit, Refusal("ModelUnavailable", obstacle))
            return
        engines = self._roster.ensure(entry)
        if all(engine.is_hopeless(now) for engine in engines):
            reason = f"{entry.name} cannot be loaded: {self._roster.failure(entry.name)}"
            self._refuse(reader, submit, Refusal("ModelUnavailable", reason, 30))
            return
        generation = Generation(submit, now, reader_left_at=None if submit.attach else now)
        try:
            self._line.admit(generation, is_room=_is_room(engines, now))
        except Refusal as refusal:
            self._refuse(reader, submit, refusal)
            return
        self._generations.add(generation)
        if submit.attach:
            generation.readers.add(reader)
        self.outbox.reply(reader, Accepted(ask=submit.ask))
        if not any(engine.is_started for engine in engines):
            self._review_residency(now)
        self._dispatch_waiting(entry.name, now)

    def _submit_again(self, reader: ReaderId, submit: Submit, generation: Generation) -> None:
        if not is_same_owner(generation.submit.owner, submit.owner):
            self._refuse(reader, submit, Refusal("GenerationExists", "This generation id is taken."))
            return
        self.outbox.reply(reader, Accepted(ask=submit.ask))
        if submit.attach:
            self._readers.add(reader, generation, after=0)

    def _refuse(self, reader: ReaderId, submit: Submit, refusal: Refusal) -> None:
        self.outbox.reply(
            reader, Refused(ask=submit.ask, code=refusal.code, message=str(refusal), retry_after=refusal.retry_after)
        )

    def lose_web_process(self, reader: ReaderId, now: float) -> None:
        """The web process is gone, or does not take messages: it has no readers any more."""
        for generation in self._readers.lose(reader, now):
            self._abort_if_abandoned(generation, now)

    # --- from engines ------------------------------------------------------------------------------

    def from_engine(self, engine_id: str, message: EngineToPool, now: float) -> None:
        """Take one message of an engine. What an engine that was given up still says is ignored."""
        engine = self._roster.find(engine_id)
        if engine is None:
            self._meet_stranger(engine_id, message, now)
            return
        engine.heartbeat_at = now
        match message:
            case EngineHello():
                engine.is_connected = True
                self.ping_engine(engine)
            case EngineHeartbeat():
                self._take_heartbeat(engine, message, now)
            case StepEvents():
                for event in message.events:
                    self._take_event(engine, event, now)
                self._dispatch_waiting(engine.entry.name, now)
            case LoadFailed():
                engine.error = message.message

    def ping_engine(self, engine: Engine) -> None:
        """Tell the engine that the pool lives, and which leases are its own."""
        self.outbox.send(engine.engine_id, EnginePing(self.epoch, tuple(engine.leases)))

    def _meet_stranger(self, engine_id: str, message: EngineToPool, now: float) -> None:
        """An engine that an earlier pool started: it says hello at the new epoch, and takes a vacant post or ends."""
        if not isinstance(message, EngineHello):
            self.outbox.send(engine_id, EnginePing(self.epoch, ()))
            return
        post = self._vacant_post(message.model)
        if post is None:
            self.outbox.send(engine_id, EngineStop())
            return
        post.started(engine_id, message.pid, now)
        # Its hello may have waited here longer than the engine has lived.
        post.is_started = post.is_connected = self._processes.watch(post)
        if post.is_connected:
            self.ping_engine(post)

    def _vacant_post(self, model: str) -> Engine | None:
        try:
            posts = self._roster.ensure(self._catalog.find(model))
        except ModelNotFound:
            return None
        return next((engine for engine in posts if not engine.is_started), None)

    def _take_heartbeat(self, engine: Engine, heartbeat: EngineHeartbeat, now: float) -> None:
        was_ready, was_fraction = engine.is_ready, engine.load_fraction
        engine.heartbeat = heartbeat
        if engine.is_ready and not was_ready:
            engine.became_ready(now)
            log.info("engine %s is ready: %s %s", engine.engine_id, heartbeat.device, heartbeat.precision)
            self._dispatch_waiting(engine.entry.name, now)
        elif engine.load_fraction != was_fraction:
            self._publish_places(engine.entry.name)

    def _take_event(self, engine: Engine, row: LeaseEvent, now: float) -> None:
        generation = engine.leases.get(row.lease)
        # The lease is the fence: an engine speaks only of what it was last given.
        if generation is None or generation.generation_id != row.generation_id:
            return
        event = row.event
        if isinstance(event, Started):
            generation.prompt_tokens = event.prompt_tokens
            self.outbox.publish_status(generation, event)
            return
        if isinstance(event, Delta):
            if event.position != len(generation.token_ids):
                self._take_back(engine, generation, event.position, now)
                return
            engine.last_token_at = now
            generation.first_token_at = generation.first_token_at or now
            self.outbox.publish(generation, event)
            return
        if isinstance(event, Finished):
            engine.last_token_at = now
            event = msgspec.structs.replace(event, timings=generation.timings(now))
        self._end(generation, event, now)

    def _take_back(self, engine: Engine, generation: Generation, position: int, now: float) -> None:
        """The engine's tokens do not join on: the generation goes on from its last good one, under a new lease."""
        log.error("engine %s sent position %d, expected %d", engine.engine_id, position, len(generation.token_ids))
        assert generation.lease is not None
        self.outbox.send(engine.engine_id, AbortLease(generation.generation_id, generation.lease))
        del engine.leases[generation.lease]
        if not generation.is_probe:
            self._requeue(generation, now)

    def lose_engine(self, engine: Engine, now: float) -> None:
        """The engine's process is gone: what ran on it goes on elsewhere, or waits for the next process."""
        if engine.is_stopping:
            log.info("engine %s has unloaded %s", engine.engine_id, engine.entry.name)
        else:
            log.warning("engine %s is lost: %s", engine.engine_id, engine.error or "its process ended")
        for generation in engine.vacate(now):
            if not generation.is_probe:
                self._requeue(generation, now)
        self._dispatch_waiting(engine.entry.name, now)

    def _requeue(self, generation: Generation, now: float) -> None:
        generation.lost_engines += 1
        if generation.lost_engines >= POISON_AFTER:
            message = f"{generation.lost_engines} engines were lost under this generation."
            self._end(generation, Failed("EngineLost", message), now)
            return
        generation.engine_id = generation.lease = None
        self._line.put_back(generation)

    # --- dispatch ----------------------------------------------------------------------------------

    def _dispatch_waiting(self, model: str, now: float) -> None:
        engines = self._roster.of_model(model)
        if all(engine.is_hopeless(now) for engine in engines):
            self._fail_waiting(model, f"{model} cannot be loaded: {self._roster.failure(model)}", now)
        while self._dispatch_next(model, engines, now):
            pass
        self._publish_places(model)

    def _dispatch_next(self, model: str, engines: list[Engine], now: float) -> bool:
        """Give the next generation to the engine with most room; False where nothing can be given."""
        # Nothing joins a suspect, so that the one that loses engines is found and fails alone.
        able = [engine for engine in engines if engine.room > 0 and not engine.has_suspect]
        for generation in self._line.in_order(model) if able else ():
            takers = [engine for engine in able if engine.room_for(generation.accepted_at)]
            if takers:
                self._line.take(generation)
                generation.dispatched_at = generation.dispatched_at or now
                self._give(max(takers, key=lambda engine: engine.room), generation, now)
                return True
        return False

    def _give(self, engine: Engine, generation: Generation, now: float) -> None:
        lease = next(self._leases)
        generation.engine_id, generation.lease = engine.engine_id, lease
        engine.leases[lease] = generation
        if not generation.is_probe:
            engine.last_used_at = now
        dispatch = Dispatch(
            generation_id=generation.generation_id,
            lease=lease,
            request=generation.submit.request,
            token_ids=tuple(generation.token_ids),
        )
        self.outbox.send(engine.engine_id, dispatch)

    def _fail_waiting(self, model: str, reason: str, now: float) -> None:
        for generation in self._line.in_order(model):
            self._line.remove(generation)
            self._end(generation, Failed("ModelUnavailable", reason), now)

    def _publish_places(self, model: str) -> None:
        """Tell those that wait where they stand, where that has changed."""
        waiting = self._line.in_order(model)
        if not waiting:
            return
        engines = self._roster.of_model(model)
        is_queued = any(engine.is_ready for engine in engines) or self._residency.is_blocked(model)
        fraction = max((engine.load_fraction for engine in engines), default=0.0)
        for place, generation in enumerate(waiting, start=1):
            self.outbox.publish_status(generation, Queued(place) if is_queued else Loading(fraction))

    # --- the life of a generation ------------------------------------------------------------------

    def _abort(self, generation: Generation, cause: str, now: float) -> None:
        if generation.is_ended:
            return
        if generation.lease is not None and generation.engine_id is not None:
            self.outbox.send(generation.engine_id, AbortLease(generation.generation_id, generation.lease))
        else:
            self._line.remove(generation)
        log.info("generation %s is aborted: %s", generation.generation_id, cause)
        self._end(generation, Finished("abort", generation.usage(), generation.timings(now)), now)
        self._dispatch_waiting(generation.submit.request.model, now)

    def _abort_if_abandoned(self, generation: Generation, now: float) -> None:
        left_at = generation.reader_left_at
        if left_at is not None and now - left_at >= generation.submit.grace_seconds:
            self._abort(generation, "reader left", now)

    def _end(self, generation: Generation, event: Finished | Failed, now: float) -> None:
        """The one place where a generation ends: its engine and its turn are free, its end is told and logged."""
        if generation.lease is not None:
            engine = self._roster.find(generation.engine_id or "")
            if engine:
                engine.leases.pop(generation.lease, None)
            if not generation.is_probe:
                self._line.release(generation)
        generation.engine_id = generation.lease = None
        generation.ended_at = now
        if generation.is_probe:
            return
        self.outbox.publish(generation, event)
        self._generations.keep_ended(generation)
        log.info("%s", generation.describe_end(event, now))

    # --- time --------------------------------------------------------------------------------------

    def pass_time(self, now: float) -> None:
        """What happens by itself: called a few times a second."""
        for reader in self._readers.late(now):
            self.lose_web_process(reader, now)
        for generation in self._generations:
            self._abort_if_abandoned(generation, now)
        for engine in self._roster:
            if engine.is_hanging(now):
                engine.error = "it hangs"
                self._processes.kill(engine)
        self._review_residency(now)
        self._generations.forget_old(now)

    def engines_to_start(self, now: float) -> list[Engine]:
        """The vacant posts on which an engine should be now."""
        return self._residency.engines_to_start(now)

    def _review_residency(self, now: float) -> None:
        for model in self._residency.review(now):
            obstacle = self._residency.obstacle(self._catalog.find(model))
            if obstacle:
                self._fail_waiting(model, obstacle, now)
            self._dispatch_waiting(model, now)

    # --- state -------------------------------------------------------------------------------------

    def _probe(self, now: float) -> None:
        """Make every engine that has long been silent, and has nothing to do, produce one token."""
        for engine in self._roster:
            is_fresh = engine.last_token_at is not None and now - engine.last_token_at < PROBE_AFTER_SECONDS
            if is_fresh or engine.leases or engine.room == 0:
                continue
            self._give(engine, make_probe(engine.entry, now), now)

    def _state(self, ask: int, now: float) -> PoolState:
        return PoolState(
            ask=ask,
            epoch=self.epoch,
            pid=os.getpid(),
            parent_pid=os.getppid(),
            engines=[engine.state(now, taken_bytes=self._residency.taken_bytes(engine)) for engine in self._roster],
            web_processes=self._readers.states(),
            waiting=self._line.counts(),
            running=sum(len(engine.leases) for engine in self._roster),
            memory_budget=self._catalog.memory_budget,
        )


def _is_room(engines: list[Engine], now: float) -> bool:
    """Whether an engine takes a newcomer at once; or none is loaded, and somebody has to wait for it to be."""
    is_loaded = any(engine.is_ready and not engine.is_stopping for engine in engines)
    return not is_loaded or any(engine.room_for(now) > 0 for engine in engines)
