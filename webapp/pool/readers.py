"""Web processes, and which generations each of them reads. Knows nothing of engines."""

from dataclasses import dataclass

from webapp.pool.generation_log import Generation, ReaderId
from webapp.pool.generation_store import GenerationStore
from webapp.pool.outbox import Outbox
from webapp.wire.messages import Accepted, Attach, Ended, Gone, PoolHello, ReadersDropped, WebHello, WebState

# A web process that has said nothing for this many seconds is gone, and so are its readers.
WEB_LATE_SECONDS = 3.0
# Events that a loss of power may have taken from the journal after readers had seen them: 50 ms, generously.
MOST_LOST_EVENTS = 100


@dataclass
class WebProcess:
    hello: WebHello
    heard_at: float


class Readers:
    """Who reads what. `epoch` names this pool process."""

    def __init__(self, generations: GenerationStore, outbox: Outbox, *, epoch: str) -> None:
        self._generations = generations
        self._outbox = outbox
        self._epoch = epoch
        self._web_processes: dict[ReaderId, WebProcess] = {}

    def hello(self, reader: ReaderId, hello: WebHello, now: float) -> None:
        """The web process lives; one that is new here, or was given up, learns that nobody counts as its reader."""
        is_first = reader not in self._web_processes
        self._web_processes[reader] = WebProcess(hello, now)
        self._outbox.reply(reader, PoolHello(self._epoch, is_first))

    def attach(self, reader: ReaderId, attach: Attach) -> None:
        """Answer Attach: Accepted and the events after, Ended, or Gone."""
        generation = self._generations.owned(attach.generation_id, attach.owner)
        if generation is None or not 0 <= attach.after <= _last_known_id(generation):
            self._outbox.reply(reader, Gone(ask=attach.ask, is_known=generation is not None))
        elif generation.is_ended and attach.after == len(generation.events):
            self._outbox.reply(reader, Ended(ask=attach.ask))
        else:
            self._outbox.reply(reader, Accepted(ask=attach.ask))
            self.add(reader, generation, after=attach.after)

    def add(self, reader: ReaderId, generation: Generation, *, after: int) -> None:
        """Make the web process a reader. In one turn with what it has missed: nothing comes between."""
        generation.readers.add(reader)
        generation.reader_left_at = None
        for published in generation.replay(after):
            self._outbox.reply(reader, published)

    def remove(self, reader: ReaderId, generation: Generation, now: float) -> None:
        """The web process reads it no more. With nobody left, the generation's grace begins."""
        generation.readers.discard(reader)
        if not generation.readers and not generation.is_ended and generation.reader_left_at is None:
            generation.reader_left_at = now

    def drop(self, generation: Generation) -> None:
        """Have every web process cut off who reads the generation there; they come back by themselves."""
        for reader in generation.readers:
            self._outbox.reply(reader, ReadersDropped(generation.generation_id))

    def is_known(self, reader: ReaderId) -> bool:
        """Whether this web process lives, as far as is known."""
        return reader in self._web_processes

    def lose(self, reader: ReaderId, now: float) -> list[Generation]:
        """The web process is gone, or does not take messages: the generations it has read."""
        self._web_processes.pop(reader, None)
        self._outbox.drop(reader)
        read = [generation for generation in self._generations if reader in generation.readers]
        for generation in read:
            self.remove(reader, generation, now)
        return read

    def late(self, now: float) -> list[ReaderId]:
        """The web processes that have been silent for too long."""
        return [reader for reader, web in self._web_processes.items() if now - web.heard_at > WEB_LATE_SECONDS]

    def excuse_silence(self, now: float) -> None:
        """Nobody's silence until now counts."""
        for web in self._web_processes.values():
            web.heard_at = now

    def states(self) -> list[WebState]:
        """What /pool.json shows of them."""
        return [WebState(web.hello.pid, web.hello.parent_pid) for web in self._web_processes.values()]


def _last_known_id(generation: Generation) -> int:
    """The last event id that a reader may have seen."""
    # Where the last were lost with the machine's power, the engine makes them again: their reader waits for the next.
    has_lost_events = generation.is_recovered and not generation.is_ended
    return len(generation.events) + (MOST_LOST_EVENTS if has_lost_events else 0)
