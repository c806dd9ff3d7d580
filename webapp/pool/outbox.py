"""What the pool has to keep and to say, collected over one turn of its loop. Knows no sockets and no files.

A web process gets all that a turn brings as one message: one message for each token would make every
reader late at a few hundred streams.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from webapp.pool.generation_log import Generation, ReaderId
from webapp.pool.journal_records import AcceptedRow, EventRow, GenerationRow
from webapp.wire.generation import Delta, Failed, Finished, GenerationEvent, Started
from webapp.wire.messages import PoolToEngine, PoolToWeb, Published


@dataclass
class Turn:
    """What one turn has made, each part in order: first the rows are kept, then the messages are sent."""

    rows: list[GenerationRow] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    to_web: dict[ReaderId, list[PoolToWeb]] = field(default_factory=lambda: defaultdict(list))
    to_engines: list[tuple[str, PoolToEngine]] = field(default_factory=list)


class Outbox:
    """Collects a turn."""

    def __init__(self) -> None:
        self._turn = Turn()

    def accept(self, generation: Generation) -> None:
        """Have it kept that the generation was accepted."""
        self._turn.rows.append(AcceptedRow(generation.submit))

    def forget(self, generation_ids: list[str]) -> None:
        """Nothing needs to be kept of these generations any more."""
        self._turn.forgotten += generation_ids

    def reply(self, reader: ReaderId, message: PoolToWeb) -> None:
        """Say something to one web process."""
        self._turn.to_web[reader].append(message)

    def send(self, engine_id: str, message: PoolToEngine) -> None:
        """Say something to one engine."""
        self._turn.to_engines.append((engine_id, message))

    def publish(self, generation: Generation, event: Delta | Finished | Failed, now: float) -> None:
        """Number and keep the event, and tell all readers."""
        published = generation.append(event, now)
        self._turn.rows.append(EventRow(generation.generation_id, event))
        for reader in generation.readers:
            self.reply(reader, published)

    def publish_status(self, generation: Generation, event: GenerationEvent) -> None:
        """Tell all readers where the generation stands, where that has changed."""
        if event == generation.status:
            return
        generation.status = event
        if isinstance(event, Started):
            self._turn.rows.append(EventRow(generation.generation_id, event))
        for reader in generation.readers:
            self.reply(reader, Published(generation.generation_id, 0, event))

    def drop(self, reader: ReaderId) -> None:
        """Forget what is meant for a web process that is gone."""
        self._turn.to_web.pop(reader, None)

    def take(self) -> Turn:
        """The turn so far; the next one begins."""
        taken, self._turn = self._turn, Turn()
        return taken
