"""What the pool has to say, collected over one turn of its loop. Knows no sockets.

A web process gets all that a turn brings as one message: one message for each token would make every
reader late at a few hundred streams.
"""

from collections import defaultdict

from webapp.pool.generation_log import Generation, ReaderId
from webapp.wire.generation import Delta, Failed, Finished, GenerationEvent
from webapp.wire.messages import PoolToEngine, PoolToWeb, Published


class Outbox:
    """The messages of one turn, in order."""

    def __init__(self) -> None:
        self._to_web: dict[ReaderId, list[PoolToWeb]] = defaultdict(list)
        self._to_engines: list[tuple[str, PoolToEngine]] = []

    def reply(self, reader: ReaderId, message: PoolToWeb) -> None:
        """Say something to one web process."""
        self._to_web[reader].append(message)

    def send(self, engine_id: str, message: PoolToEngine) -> None:
        """Say something to one engine."""
        self._to_engines.append((engine_id, message))

    def publish(self, generation: Generation, event: Delta | Finished | Failed) -> None:
        """Number and keep the event, and tell all readers."""
        published = generation.append(event)
        for reader in generation.readers:
            self.reply(reader, published)

    def publish_status(self, generation: Generation, event: GenerationEvent) -> None:
        """Tell all readers where the generation stands, where that has changed."""
        if event == generation.status:
            return
        generation.status = event
        for reader in generation.readers:
            self.reply(reader, Published(generation.generation_id, 0, event))

    def drop(self, reader: ReaderId) -> None:
        """Forget what is meant for a web process that is gone."""
        self._to_web.pop(reader, None)

    def take(self) -> tuple[dict[ReaderId, list[PoolToWeb]], list[tuple[str, PoolToEngine]]]:
        """What is to be sent: one list for each web process, and the engines' messages. The outbox is empty then."""
        taken = dict(self._to_web), self._to_engines
        self._to_web.clear()
        self._to_engines = []
        return taken
