"""One reader's view of one generation. Knows messages and greenlets, no socket."""

from types import TracebackType
from typing import Protocol, Self

from gevent import get_hub
from gevent.hub import Waiter

from webapp.web.errors import ReaderLeft
from webapp.wire.generation import Failed, Finished
from webapp.wire.messages import Attach, Gone, Published

# Events that may wait for one slow reader; past that they are dropped here and asked for again when it reads.
MOST_WAITING = 512

Item = Published | Gone

_ENDS = (Finished, Failed)


def is_end(item: Item) -> bool:
    """Whether nothing follows."""
    return isinstance(item, Gone) or isinstance(item.event, _ENDS)


class Watcher(Protocol):
    """What calls a subscription's `leave` when its reader has gone."""

    def close(self) -> None:
        """Watch no more. Idempotent."""
        ...


class PoolLine(Protocol):
    """What a subscription needs of the line to the pool."""

    def next_ask(self) -> int:
        """A number for a question, never used before in this process."""
        ...

    def attach_anew(self, subscription: "Subscription") -> None:
        """Ask again for what the subscription has missed."""
        ...

    def forget(self, subscription: "Subscription") -> None:
        """The reader has closed it."""
        ...


class Subscription:
    """One reader's view of one generation: the events after `after`, in order, without gap or repeat.

    It takes nothing until the pool has accepted its question, so that nobody reads a generation of another owner.
    """

    def __init__(
        self, line: PoolLine, generation_id: str, owner: str, *, after: int = 0, is_resumable: bool = False
    ) -> None:
        self.generation_id = generation_id
        # Its reader comes back with the last event id when the stream ends early.
        self.is_resumable = is_resumable
        self.is_accepted = False
        self.is_closed = False
        self._line = line
        self._owner = owner
        self._waiting: list[Item] = []
        # Who waits in `take`.
        self._taker: Waiter[None] | None = None
        self._queued_id = after
        # Dropped events that the pool has to send again.
        self._is_behind = False
        self._is_attaching = False
        self._has_end = False
        self._has_reader_left = False
        self._watcher: Watcher | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, timeout: float) -> list[Item]:
        """All that waits, or what comes within `timeout` seconds; empty where nothing does. Raises ReaderLeft."""
        if self._is_behind:
            self._is_behind = False
            self._line.attach_anew(self)
        if not self._waiting and not self._has_reader_left:
            self._wait(timeout)
        if self._has_reader_left:
            raise ReaderLeft("The reader has closed the connection.")
        taken, self._waiting = self._waiting, []
        return taken

    def put(self, message: Item) -> None:
        """Take what the pool says; called by the client's reading greenlet. After the end, nothing is taken."""
        if self._has_end:
            return
        if isinstance(message, Published) and not self._has_use_for(message.event_id):
            if not (self.is_accepted and is_end(message) and message.event_id <= self._queued_id):
                return
            # Made again after a loss of power. One who had seen the end needs no other; one who had seen more than
            # there is now has another text.
            if message.event_id == self._queued_id:
                self.leave()
                return
            message = Gone(ask=0, is_known=True)
        self._has_end = is_end(message)
        self._waiting.append(message)
        self._wake()

    def question(self) -> Attach:
        """Asks for everything after the last event that was queued here."""
        self._is_attaching = True
        return Attach(
            ask=self._line.next_ask(), generation_id=self.generation_id, owner=self._owner, after=self._queued_id
        )

    def answered(self, *, is_accepted: bool) -> None:
        """The pool has answered the question, before the events that follow the answer are read."""
        self._is_attaching = False
        self.is_accepted = self.is_accepted or is_accepted

    def fall_behind(self) -> None:
        """Events were dropped: the next `take` asks for them again."""
        self._is_attaching = False
        self._is_behind = True

    def leave(self) -> None:
        """The reader has gone: wakes `take`, which raises ReaderLeft."""
        self._has_reader_left = True
        self._wake()

    def be_watched(self, watcher: Watcher) -> None:
        """What calls `leave`; it is closed with the subscription."""
        self._watcher = watcher

    def close(self) -> None:
        """Stop reading. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._watcher:
            self._watcher.close()
        self._line.forget(self)

    def _has_use_for(self, event_id: int) -> bool:
        if not self.is_accepted or self._is_behind:
            return False
        if event_id not in (0, self._queued_id + 1):
            if event_id > self._queued_id and not self._is_attaching:
                # Once for each gap: what comes until the answer shows the same one.
                self._line.attach_anew(self)
            return False
        if len(self._waiting) >= MOST_WAITING:
            self.fall_behind()
            return False
        self._queued_id = event_id or self._queued_id
        return True

    def _wait(self, timeout: float) -> None:
        # A third of what gevent's Event and Timeout take, and nearly every token of every stream comes by here.
        taker = self._taker = Waiter()
        alarm = get_hub().loop.timer(timeout)
        alarm.start(self._wake)
        try:
            taker.get()
        finally:
            alarm.close()

    def _wake(self) -> None:
        if self._taker:
            get_hub().loop.run_callback(self._taker.switch, None)
            self._taker = None
