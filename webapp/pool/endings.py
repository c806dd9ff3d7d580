"""How generations end: the one place where they do. Knows no sockets."""

import logging

from webapp.pool.generation_log import Generation
from webapp.pool.generation_store import GenerationStore
from webapp.pool.metrics import Metrics
from webapp.pool.outbox import Outbox
from webapp.pool.roster import Roster
from webapp.pool.waiting_line import WaitingLine
from webapp.wire.generation import Failed, Finished
from webapp.wire.messages import AbortLease

log = logging.getLogger(__name__)


class Endings:
    """Ends generations, whatever they are doing: the engine, the line and the reader learn of it."""

    def __init__(
        self, roster: Roster, line: WaitingLine, generations: GenerationStore, outbox: Outbox, metrics: Metrics
    ) -> None:
        self._metrics = metrics
        self._roster = roster
        self._line = line
        self._generations = generations
        self._outbox = outbox

    def end(self, generation: Generation, event: Finished | Failed, now: float) -> None:
        """It has ended, and its engine knows: its place and its turn are free, its end is told and logged."""
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
        self._outbox.publish(generation, event, now)
        self._generations.keep_ended(generation)
        self._metrics.ended(generation, event)
        log.info("generation ended", extra={"fields": generation.describe_end(event, now)})

    def abort(self, generation: Generation, cause: str, now: float) -> None:
        """It is not wanted any more, for this cause."""
        log.info("generation %s is aborted: %s", generation.generation_id, cause)
        self._metrics.aborted(generation, cause)
        self._stop(generation, Finished("abort", generation.usage(), generation.timings(now)), now)

    def fail(self, generation: Generation, code: str, message: str, now: float) -> None:
        """It cannot go on."""
        self._stop(generation, Failed(code, message), now)

    def _stop(self, generation: Generation, event: Finished | Failed, now: float) -> None:
        if generation.lease is not None and generation.engine_id is not None:
            self._outbox.send(generation.engine_id, AbortLease(generation.generation_id, generation.lease))
        else:
            self._line.remove(generation)
        self.end(generation, event, now)
