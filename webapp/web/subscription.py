"""One reader's view of one generation. Knows messages and greenlets, no socket."""

from collections import deque
from types import TracebackType
from typing import Protocol, Self

from gevent import Greenlet
from gevent.event import Event

from webapp.web.errors import ReaderLeft
from webapp.wire.generation import Failed, Finished
from webapp.wire.messages import Attach, Gone, Published

# Events that may wait for one slow reader; past that they are dropped here and asked for again when it reads.
MOST_WAITING = 2048


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
        self._waiting: deque[Published | Gone] = deque()
        self._has_news = Event()
        self._queued_id = after
        # Dropped events that the pool has to send again.
        self._is_behind = False
        self._is_attaching = False
        self._has_end = False
        self._has_reader_left = False
        self._watcher: Greenlet[..., None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, timeout: float) -> list[Published | Gone]:
        """All that waits, or what comes within `timeout` seconds; empty where nothing does. Raises ReaderLeft."""
        if self._is_behind:
            self._is_behind = False
            self._line.attach_anew(self)
        if not self._waiting and not self._has_reader_left:
            self._has_news.wait(timeout)
        self._has_news.clear()
        if self._has_reader_left:
            raise ReaderLeft("The reader has closed the connection.")
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def put(self, message: Published | Gone) -> None:
        """Take what the pool says; called by the client's reading greenlet. After the end, nothing is taken."""
        if self._has_end or (isinstance(message, Published) and not self._has_use_for(message.event_id)):
            return
        self._has_end = isinstance(message, Gone) or isinstance(message.event, Finished | Failed)
        self._waiting.append(message)
        self._has_news.set()

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
        self._has_news.set()

    def be_watched(self, watcher: "Greenlet[..., None]") -> None:
        """The greenlet that calls `leave`; it ends with the subscription."""
        self._watcher = watcher

    def close(self) -> None:
        """Stop reading. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._watcher:
            # Waits until it is dead: the connection's next request is read from the same socket.
            self._watcher.kill()
        self._line.forget(self)

    def _has_use_for(self, event_id: int) -> bool:
        if not self.is_accepted or self._is_behind:
            return False
        if event_id > self._queued_id + 1 and not self._is_attaching:
            # Once for each gap: what comes until the answer shows the same one.
            self._line.attach_anew(self)
        if event_id not in (0, self._queued_id + 1):
            return False
        if len(self._waiting) >= MOST_WAITING:
            self.fall_behind()
            return False
        self._queued_id = max(self._queued_id, event_id)
        return True
