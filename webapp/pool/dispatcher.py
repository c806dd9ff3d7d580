"""The pool's mind: takes messages from web processes and engines, decides, and puts answers into the outbox.

Knows generations, the line and the roster; knows no sockets and no processes, and is given the time.
"""

import logging
from collections.abc import Iterable

import msgspec

from webapp.catalog import Catalog, ModelNotFound
from webapp.pool.admission import Admission
from webapp.pool.assignment import Assignment
from webapp.pool.endings import Endings
from webapp.pool.generation_log import Generation, ReaderId, make_probe
from webapp.pool.generation_store import GenerationStore, is_same_owner
from webapp.pool.metrics import Metrics
from webapp.pool.metrics_text import JournalState
from webapp.pool.outbox import Outbox
from webapp.pool.readers import Readers
from webapp.pool.recording import RecordedGeneration
from webapp.pool.reports import Reports
from webapp.pool.residency import Residency
from webapp.pool.roster import Engine, EngineKeeper, Roster
from webapp.pool.token_counts import TokenCounts
from webapp.pool.waiting_line import Refusal, WaitingLine
from webapp.wire.generation import Delta, Finished, Started
from webapp.wire.messages import (
    REMOTE_PREFIX,
    Abort,
    Accepted,
    AskHello,
    AskMetrics,
    AskRecord,
    AskState,
    AskTokenCount,
    Attach,
    Detach,
    DropReaders,
    EngineHeartbeat,
    EngineHello,
    EnginePing,
    EngineStop,
    EngineToPool,
    Gone,
    LeaseEvent,
    LoadFailed,
    Refused,
    StepEvents,
    Submit,
    TokensCounted,
    WebHello,
    WebToPool,
)

log = logging.getLogger(__name__)

# An engine that made a token this recently needs no probe.
PROBE_AFTER_SECONDS = 5.0
# After a restart the readers of all generations have this long to come back, whatever their grace.
READERS_RETURN_SECONDS = 5.0


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
        journal: JournalState,
        idle_unload_seconds: float,
        queue_seconds: float,
        generation_seconds: float,
    ) -> None:
        self.outbox = Outbox()
        self.epoch = epoch
        self._journal = journal
        self._queue_seconds = queue_seconds
        self._generation_seconds = generation_seconds
        self._catalog = catalog
        self._roster = roster
        self._line = line
        self._processes = processes
        self._generations = GenerationStore()
        self._readers = Readers(self._generations, self.outbox, epoch=epoch)
        self._residency = Residency(
            catalog, roster, line, self.outbox, processes=processes, idle_unload_seconds=idle_unload_seconds
        )
        self._admission = Admission(catalog, roster, line, residency=self._residency, journal=journal)
        self._metrics = Metrics(entry.name for entry in catalog.entries if entry.is_installed)
        self._endings = Endings(roster, line, self._generations, self.outbox, self._metrics)
        self._token_counts = TokenCounts(roster, self._readers, self.outbox)
        self._reports = Reports(
            self._generations,
            roster,
            line,
            epoch=epoch,
            readers=self._readers,
            residency=self._residency,
            metrics=self._metrics,
            journal=journal,
        )
        self._assignment = Assignment(roster, line, self._residency, self._endings, self.outbox, self._metrics)

    def restore(self, recorded: Iterable[RecordedGeneration], now: float) -> None:
        """Take over what an earlier pool has accepted: what has not ended goes on from its last token."""
        for record in recorded:
            self._generations.add(Generation.from_record(record, reader_left_at=now + READERS_RETURN_SECONDS))
        self._generations.keep_those_ended()
        for generation in self._generations.unended:
            self._line.restore(generation)
            try:
                self._roster.ensure(self._catalog.find(generation.submit.request.model))
            except ModelNotFound as error:
                self._endings.fail(generation, "ModelNotFound", str(error), now)

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
            case DropReaders():
                generation = self._generations.owned(message.generation_id, message.owner)
                if generation:
                    self._readers.drop(generation)
                self.outbox.reply(reader, Accepted(ask=message.ask) if generation else Gone(ask=message.ask))
            case AskState():
                if message.probe:
                    self._probe(now)
                self.outbox.reply(reader, self._reports.state(message.ask, now))
            case AskMetrics():
                self.outbox.reply(reader, self._reports.metrics(message.ask, now))
            case AskRecord():
                self.outbox.reply(reader, self._reports.record(message))
            case AskTokenCount():
                self._token_counts.ask(reader, message)

    def _submit(self, reader: ReaderId, submit: Submit, now: float) -> None:
        if generation := self._generations.find(submit.generation_id):
            self._submit_again(reader, submit, generation)
            return
        generation = Generation(submit, now, reader_left_at=None if submit.attach else now)
        try:
            engines = self._admission.admit(generation, now)
        except Refusal as refusal:
            self._metrics.refused(refusal.code)
            refused = Refused(ask=submit.ask, code=refusal.code, message=str(refusal), retry_after=refusal.retry_after)
            self.outbox.reply(reader, refused)
            return
        self._metrics.accepted(generation)
        self._generations.add(generation)
        self.outbox.accept(generation)
        if submit.attach:
            generation.readers.add(reader)
        self.outbox.reply(reader, Accepted(ask=submit.ask))
        if not any(engine.is_started for engine in engines):
            self._review_residency(now)
        self._assignment.dispatch_waiting(submit.request.model, now)

    def _submit_again(self, reader: ReaderId, submit: Submit, generation: Generation) -> None:
        if not is_same_owner(generation.submit.owner, submit.owner):
            self._metrics.refused("GenerationExists")
            refused = Refused(ask=submit.ask, code="GenerationExists", message="This generation id is taken.")
            self.outbox.reply(reader, refused)
            return
        self.outbox.reply(reader, Accepted(ask=submit.ask))
        if submit.attach:
            self._readers.add(reader, generation, after=0)

    def lose_web_process(self, reader: ReaderId, now: float) -> None:
        """The web process is gone, or does not take messages: it has no readers any more."""
        self._metrics.web_process_lost()
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
                running, had_suspect = len(engine.leases), engine.has_suspect
                for event in message.events:
                    self._take_event(engine, event, now)
                # Only these change who may have a place.
                if len(engine.leases) < running or (had_suspect and not engine.has_suspect):
                    self._assignment.dispatch_waiting(engine.entry.name, now)
            case LoadFailed():
                engine.error = message.message
            case TokensCounted():
                self._token_counts.answer(message)

    def ping_engine(self, engine: Engine) -> None:
        """Tell the engine that the pool lives, and which leases are its own."""
        self.outbox.send(engine.engine_id, EnginePing(tuple(engine.leases)))

    def _meet_stranger(self, engine_id: str, message: EngineToPool, now: float) -> None:
        """An engine that an earlier pool started, or that is on another machine: it takes a post, or ends."""
        if not isinstance(message, EngineHello):
            self._metrics.fenced(len(message.events) if isinstance(message, StepEvents) else 0)
            self.outbox.send(engine_id, AskHello())
            return
        is_remote = engine_id.startswith(REMOTE_PREFIX)
        post = self._post_for(message, is_remote=is_remote)
        if post is None:
            log.warning("engine %s has no place here: %s %s", engine_id, message.model, message.device)
            self.outbox.send(engine_id, EngineStop())
            return
        post.started(engine_id, 0 if is_remote else message.pid, now)
        # Its hello may have waited here longer than the engine has lived.
        post.is_started = post.is_connected = is_remote or self._processes.watch(post)
        if post.is_connected:
            self.ping_engine(post)

    def _post_for(self, hello: EngineHello, *, is_remote: bool) -> Engine | None:
        try:
            entry = self._catalog.find(hello.model)
        except ModelNotFound:
            return None
        if is_remote:
            return self._roster.add_remote(entry)
        vacant = [engine for engine in self._roster.ensure(entry) if not engine.is_started]
        return next((engine for engine in vacant if hello.device in ("", engine.place.device)), None)

    def _take_heartbeat(self, engine: Engine, heartbeat: EngineHeartbeat, now: float) -> None:
        was_ready, was_fraction = engine.is_ready, engine.load_fraction
        engine.heartbeat = heartbeat
        if engine.is_ready and not was_ready:
            engine.became_ready(now)
            log.info("engine %s is ready: %s %s", engine.engine_id, heartbeat.device, heartbeat.precision)
            self._assignment.dispatch_waiting(engine.entry.name, now)
        elif engine.load_fraction != was_fraction:
            self._assignment.publish_places(engine.entry.name)
        if self._assignment.find_missing(engine, heartbeat, now):
            self._assignment.dispatch_waiting(engine.entry.name, now)

    def _take_event(self, engine: Engine, row: LeaseEvent, now: float) -> None:
        generation = engine.leases.get(row.lease)
        # The lease is the fence: an engine speaks only of what it was last given.
        if generation is None or generation.generation_id != row.generation_id:
            self._metrics.fenced(1)
            return
        event = row.event
        if isinstance(event, Started):
            self._metrics.started(generation, event)
            generation.started = event
            self.outbox.publish_status(generation, event)
            return
        if isinstance(event, Delta):
            if event.position != len(generation.token_ids):
                self._mistrust(engine, generation, event, now)
                return
            self._metrics.made(generation, event, now)
            engine.last_token_at = generation.last_token_at = now
            generation.first_token_at = generation.first_token_at or now
            self.outbox.publish(generation, event, now)
            return
        if isinstance(event, Finished):
            engine.last_token_at = now
            event = msgspec.structs.replace(event, timings=generation.timings(now))
        self._endings.end(generation, event, now)

    def give_up(self, engine: Engine, now: float) -> None:
        """The engine is of no use: one of this machine is killed, and its loss noticed; another is lost from here."""
        if engine.is_remote:
            self.lose_engine(engine, now)
        else:
            self._processes.kill(engine)

    def _mistrust(self, engine: Engine, generation: Generation, event: Delta, now: float) -> None:
        """The engine's tokens do not join on: the generation goes on from its last good one, under a new lease."""
        log.error(
            "engine %s sent position %d, expected %d", engine.engine_id, event.position, len(generation.token_ids)
        )
        self._assignment.take_back(engine, generation)
        if not generation.is_probe:
            # From another machine a message may be lost with its connection.
            self._assignment.interrupt(generation, now, is_crash=not engine.is_remote)

    def lose_engine(self, engine: Engine, now: float) -> None:
        """The engine's process is gone: what ran on it goes on elsewhere, or waits for the next process."""
        if engine.is_stopping:
            log.info("engine %s has unloaded %s", engine.engine_id, engine.entry.name)
        else:
            log.warning("engine %s is lost: %s", engine.engine_id, engine.error or "its process ended")
        is_crash = engine.has_crashed
        for generation in engine.vacate(now):
            if not generation.is_probe:
                self._assignment.interrupt(generation, now, is_crash=is_crash)
        if engine.is_remote:
            self._roster.remove(engine)
        self._assignment.dispatch_waiting(engine.entry.name, now)

    # --- time --------------------------------------------------------------------------------------

    def pass_time(self, now: float) -> None:
        """What happens by itself: called a few times a second."""
        for reader in self._readers.late(now):
            self.lose_web_process(reader, now)
        for generation in self._generations.unended:
            self._end_if_late(generation, now)
            self._abort_if_abandoned(generation, now)
        for engine in self._roster:
            if engine.is_hanging(now):
                engine.error, engine.has_crashed = "it hangs", engine.is_stuck
                self.give_up(engine, now)
        self._review_residency(now)
        self._assignment.pass_time()
        self.outbox.forget(self._generations.forget_old(now, journal_bytes=self._journal.size))

    def _abort(self, generation: Generation, cause: str, now: float) -> None:
        if not generation.is_ended:
            self._endings.abort(generation, cause, now)
            self._assignment.dispatch_waiting(generation.submit.request.model, now)

    def _abort_if_abandoned(self, generation: Generation, now: float) -> None:
        left_at = generation.reader_left_at
        if left_at is not None and now - left_at >= generation.submit.grace_seconds:
            self._abort(generation, "reader left", now)

    def _end_if_late(self, generation: Generation, now: float) -> None:
        """Nobody waits, or is waited for, without end."""
        if generation.is_ended:
            return
        if generation.dispatched_at is None:
            if now - generation.accepted_at >= self._queue_seconds:
                reason = f"No engine had room for this generation within {self._queue_seconds:.0f} seconds."
                self._endings.fail(generation, "QueueTimeout", reason, now)
        elif now - generation.dispatched_at >= self._generation_seconds:
            reason = f"The generation took longer than {self._generation_seconds:.0f} seconds."
            self._endings.fail(generation, "GenerationTimeout", reason, now)
            self._assignment.dispatch_waiting(generation.submit.request.model, now)

    def excuse_silence(self, now: float) -> None:
        """The pool itself has stood still: nobody's silence until now counts."""
        self._readers.excuse_silence(now)
        for engine in self._roster:
            engine.heartbeat_at = now

    def engines_to_start(self, now: float) -> list[Engine]:
        """The vacant posts on which an engine should be now."""
        return self._residency.engines_to_start(now)

    def _review_residency(self, now: float) -> None:
        for model in self._residency.review(now):
            obstacle = self._residency.obstacle(self._catalog.find(model))
            if obstacle:
                self._assignment.fail_waiting(model, obstacle, now)
            self._assignment.dispatch_waiting(model, now)

    def _probe(self, now: float) -> None:
        """Make every engine that has long been silent, and has nothing to do, produce one token."""
        for engine in self._roster:
            is_fresh = engine.last_token_at is not None and now - engine.last_token_at < PROBE_AFTER_SECONDS
            if is_fresh or engine.leases or engine.room == 0:
                continue
            self._assignment.give(engine, make_probe(engine.entry, now), now)
