"""What the pool tells of itself: its state, its counts, and the record of a generation. Changes nothing.

Knows no sockets.
"""

import os

from webapp.pool.generation_log import Generation
from webapp.pool.generation_store import GenerationStore
from webapp.pool.metrics import Metrics
from webapp.pool.metrics_text import JournalState, metrics_text
from webapp.pool.readers import Readers
from webapp.pool.residency import Residency
from webapp.pool.roster import Roster
from webapp.pool.waiting_line import WaitingLine
from webapp.wire.generation import Delta
from webapp.wire.messages import AskRecord, GenerationRecord, Gone, MetricsText, PoolState


class Reports:
    """Looks at all parts of the pool. `epoch` names this pool process."""

    def __init__(
        self,
        generations: GenerationStore,
        roster: Roster,
        line: WaitingLine,
        *,
        epoch: str,
        readers: Readers,
        residency: Residency,
        metrics: Metrics,
        journal: JournalState,
    ) -> None:
        self._generations = generations
        self._roster = roster
        self._line = line
        self._epoch = epoch
        self._readers = readers
        self._residency = residency
        self._metrics = metrics
        self._journal = journal

    def state(self, ask: int, now: float) -> PoolState:
        """The whole pool at this moment."""
        return PoolState(
            ask=ask,
            epoch=self._epoch,
            pid=os.getpid(),
            parent_pid=os.getppid(),
            engines=[engine.state(now, taken=self._residency.taken(engine)) for engine in self._roster],
            web_processes=self._readers.states(),
            waiting=self._line.counts(),
            running=sum(len(engine.leases) for engine in self._roster),
            memories=self._residency.memories(),
        )

    def metrics(self, ask: int, now: float) -> MetricsText:
        """What has been counted, for Prometheus."""
        readers = sum(len(generation.readers) for generation in self._generations.unended)
        return metrics_text(self._metrics, self.state(ask, now), journal=self._journal, readers=readers)

    def record(self, question: AskRecord) -> GenerationRecord | Gone:
        """A generation as it was seen here, for its owner; Gone for anybody else."""
        generation = self._generations.owned(question.generation_id, question.owner)
        return _record(generation, question.ask) if generation else Gone(ask=question.ask)


def _record(generation: Generation, ask: int) -> GenerationRecord:
    started = generation.started
    texts: list[tuple[int, str]] = []
    passed = 0
    for event, at in zip(generation.events, generation.event_times, strict=True):
        if isinstance(event, Delta):
            # The journal's moments are those of its writing, a turn late: at a restart they may overlap.
            passed = max(passed, round(1000 * (at - generation.accepted_at)))
            texts.append((passed, event.text))
    return GenerationRecord(
        ask=ask,
        request=generation.submit.request,
        prompt_tokens=generation.prompt_tokens,
        device=started.device if started else "",
        precision=started.precision if started else "",
        texts=texts,
        end=generation.end,
    )
