"""A web process's line to the pool: submit, attach, abort, ask. Knows messages, nothing of HTTP.

One greenlet reads for the whole process and hands events to the readers of each generation. Reading drains
the socket before it yields: yielding after each message makes every reader late at a few hundred streams.
"""

import contextlib
import itertools
import logging
import os
from collections import defaultdict
from dataclasses import dataclass, field

import gevent
import msgspec
import zmq.green as zmq
from gevent.event import AsyncResult
from zmq import Socket as ZmqSocket

from webapp.web.errors import GenerationNotFound, PoolUnavailable, error_from_wire
from webapp.web.subscription import Subscription
from webapp.wire.codec import decode_pool_to_web, encode
from webapp.wire.generation import GenerationRequest
from webapp.wire.messages import (
    Abort,
    Accepted,
    Answer,
    AskMetrics,
    AskRecord,
    AskState,
    AskTokenCount,
    Attach,
    Detach,
    DropReaders,
    Ended,
    GenerationRecord,
    Gone,
    MetricsText,
    PoolHello,
    PoolState,
    PoolToWeb,
    Published,
    ReadersDropped,
    Refused,
    Submit,
    TokenCount,
    WebHello,
    WebToPool,
)

log = logging.getLogger(__name__)

# Also how late a new pool is noticed.
HELLO_SECONDS = 0.25
# How long a question waits for the pool's answer: long enough for another pool to start, read the journal and answer.
ANSWER_SECONDS = 4.0
# How long a page waits for a count of tokens, which an engine gives between two of its turns.
COUNT_SECONDS = 1.0
# Messages read before the other greenlets have their turn.
MOST_READ = 64
# Messages that may wait for the pool: an Attach for each reader, when a new pool comes, and a Detach for each.
MOST_UNSENT = 20_000


AnsweredQuestion = Submit | Attach | Abort | AskState | AskMetrics | AskRecord | DropReaders | AskTokenCount


@dataclass
class _Asked:
    question: AnsweredQuestion
    answer: "AsyncResult[Answer]" = field(default_factory=AsyncResult)


class PoolClient:
    """The pool as a web process sees it. Opens its socket at first use, so that it is never shared by a fork."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket: ZmqSocket[bytes] | None = None
        self._asks = itertools.count(1)
        # Questions that somebody waits for.
        self._asked: dict[int, _Asked] = {}
        self._subscriptions: dict[str, list[Subscription]] = defaultdict(list)
        # Subscriptions whose question is on its way.
        self._subscribing: dict[int, Subscription] = {}
        self._epoch = ""
        self._is_draining = False

    def submit(self, submit: Submit) -> None:
        """Have the pool accept a generation that nobody reads yet. Raises RequestError."""
        _check_accepted(self._ask(submit))

    def generate(self, submit: Submit) -> Subscription:
        """Have the pool accept a generation, and read it from its first event. Raises RequestError."""
        subscription = Subscription(self, submit.generation_id, submit.owner)
        _check_accepted(self._subscribe(subscription, submit))
        return subscription

    def attach(self, generation_id: str, owner: str, *, after: int) -> Subscription | None:
        """Read a generation from the event after `after`; None where its end was already seen.

        Raises GenerationNotFound and PoolUnavailable. An event id that the generation never had gives a
        subscription whose only message is Gone.
        """
        subscription = Subscription(self, generation_id, owner, after=after, is_resumable=True)
        answer = self._subscribe(subscription, subscription.question())
        if isinstance(answer, Ended):
            return None
        if isinstance(answer, Gone):
            if not answer.is_known:
                raise GenerationNotFound("No such generation.")
            subscription.put(answer)
        if self._is_draining:
            subscription.leave()
        return subscription

    def abort(self, generation_id: str, owner: str) -> None:
        """Stop a generation. Idempotent. Raises GenerationNotFound, PoolUnavailable."""
        answer = self._ask(Abort(ask=self.next_ask(), generation_id=generation_id, owner=owner))
        if isinstance(answer, Gone):
            raise GenerationNotFound("No such generation.")

    def record(self, generation_id: str, owner: str) -> GenerationRecord:
        """All that is known of a generation, ended or not. Raises GenerationNotFound, PoolUnavailable."""
        answer = self._ask(AskRecord(ask=self.next_ask(), generation_id=generation_id, owner=owner))
        if isinstance(answer, Gone):
            raise GenerationNotFound("No such generation.")
        assert isinstance(answer, GenerationRecord)
        return answer

    def drop_readers(self, generation_id: str, owner: str) -> None:
        """Cut off all who read a generation and can resume, in every web process; the generation goes on.

        Raises GenerationNotFound, PoolUnavailable.
        """
        answer = self._ask(DropReaders(ask=self.next_ask(), generation_id=generation_id, owner=owner))
        if isinstance(answer, Gone):
            raise GenerationNotFound("No such generation.")

    def count_tokens(self, request: GenerationRequest) -> int | None:
        """How many tokens the prompt has; None where its model is not loaded, or nobody has counted in time.

        Raises RequestError where the model takes no such prompt.
        """
        try:
            answer = self._ask(AskTokenCount(ask=self.next_ask(), request=request), seconds=COUNT_SECONDS)
        except PoolUnavailable:
            return None
        assert isinstance(answer, TokenCount)
        if answer.code:
            raise error_from_wire(answer.code, answer.message)
        return answer.prompt_tokens

    def state(self, *, has_to_probe: bool = False) -> PoolState:
        """The pool at this moment. Raises PoolUnavailable."""
        answer = self._ask(AskState(ask=self.next_ask(), probe=has_to_probe))
        assert isinstance(answer, PoolState)
        return answer

    def metrics(self) -> MetricsText:
        """What the pool has counted. Raises PoolUnavailable."""
        answer = self._ask(AskMetrics(ask=self.next_ask()))
        assert isinstance(answer, MetricsText)
        return answer

    def drain(self, *, patience_seconds: float) -> None:
        """This process is to end: readers who can resume elsewhere do so now, the others are cut off at the last."""
        self._is_draining = True
        for subscription in self._open_subscriptions():
            if subscription.is_resumable:
                subscription.leave()
        gevent.sleep(patience_seconds)
        for subscription in self._open_subscriptions():
            subscription.put(Gone(ask=0))

    def _open_subscriptions(self) -> list[Subscription]:
        return [subscription for readers in self._subscriptions.values() for subscription in readers]

    def next_ask(self) -> int:
        """A number for a question, never used before in this process."""
        return next(self._asks)

    def attach_anew(self, subscription: Subscription) -> None:
        """Ask again for what a subscription has missed; the answer comes to it by itself."""
        question = subscription.question()
        self._subscribing[question.ask] = subscription
        try:
            self._send(question)
        except PoolUnavailable:
            # Many may ask at once, when a new pool comes; this one asks again at its next turn.
            del self._subscribing[question.ask]
            subscription.fall_behind()

    def forget(self, subscription: Subscription) -> None:
        """A reader has closed its subscription."""
        readers = self._subscriptions.get(subscription.generation_id, [])
        if subscription not in readers:
            return
        readers.remove(subscription)
        if not readers:
            self._detach(subscription.generation_id)

    def _detach(self, generation_id: str) -> None:
        self._subscriptions.pop(generation_id, None)
        # Where it cannot be sent, the pool has long not heard of this process and counts none of its readers.
        with contextlib.suppress(PoolUnavailable):
            self._send(Detach(generation_id))
        # One whose question is on its way has just been detached with the others.
        for subscription in list(self._subscribing.values()):
            if subscription.generation_id == generation_id and not subscription.is_closed:
                self.attach_anew(subscription)

    def _subscribe(self, subscription: Subscription, question: Submit | Attach) -> Answer:
        self._subscribing[question.ask] = subscription
        try:
            answer = self._ask(question)
        except PoolUnavailable:
            # The pool may have taken the question all the same, and count a reader that is none.
            subscription.close()
            if subscription.generation_id not in self._subscriptions:
                self._detach(subscription.generation_id)
            raise
        finally:
            self._subscribing.pop(question.ask, None)
        return answer

    def _ask(self, question: AnsweredQuestion, *, seconds: float | None = None) -> Answer:
        asked = self._asked[question.ask] = _Asked(question)
        try:
            self._send(question)
            answer = asked.answer.get(timeout=ANSWER_SECONDS if seconds is None else seconds)
            assert answer is not None
            return answer
        except gevent.Timeout:
            raise PoolUnavailable("The pool does not answer.", retry_after=1) from None
        finally:
            del self._asked[question.ask]

    def _send(self, message: WebToPool) -> None:
        try:
            # Never waits: while the pool is away, messages wait in the socket, up to its high-water mark.
            self._started().send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            raise PoolUnavailable("The pool does not answer.", retry_after=1) from None

    # --- the greenlets -----------------------------------------------------------------------------

    def _started(self) -> ZmqSocket[bytes]:
        if self._socket is None:
            self._socket = _connect(self._address)
            gevent.spawn(self._say_hello)
            gevent.spawn(self._read)
        return self._socket

    def _say_hello(self) -> None:
        # Of the parent this process was started by: one that is orphaned has another, and ends.
        hello = WebHello(os.getpid(), os.getppid())
        while True:
            with contextlib.suppress(PoolUnavailable):
                self._send(hello)
            gevent.sleep(HELLO_SECONDS)

    def _read(self) -> None:
        socket = self._started()
        while True:
            frames = [socket.recv()]
            with contextlib.suppress(zmq.Again):
                while len(frames) < MOST_READ:
                    frames.append(socket.recv(zmq.NOBLOCK))
            for frame in frames:
                for message in _decoded(frame):
                    self._take(message)
            gevent.sleep(0)

    def _take(self, message: PoolToWeb) -> None:
        match message:
            case Published():
                for subscription in self._subscriptions.get(message.generation_id, ()):
                    subscription.put(message)
            case PoolHello():
                self._take_hello(message)
            case ReadersDropped():
                for subscription in self._subscriptions.get(message.generation_id, ()):
                    if subscription.is_resumable:
                        subscription.leave()
            case _:
                self._take_answer(message)

    def _take_answer(self, answer: Answer) -> None:
        subscription = self._subscribing.pop(answer.ask, None)
        if subscription:
            subscription.answered(is_accepted=isinstance(answer, Accepted))
        if subscription and isinstance(answer, Accepted) and not subscription.is_closed:
            readers = self._subscriptions[subscription.generation_id]
            if subscription not in readers:
                readers.append(subscription)
        asked = self._asked.get(answer.ask)
        if asked:
            asked.answer.set(answer)
        elif subscription and isinstance(answer, Gone):
            # It attached anew, and the pool has lost the generation.
            subscription.put(answer)

    def _take_hello(self, hello: PoolHello) -> None:
        is_new = bool(self._epoch) and hello.epoch != self._epoch
        if is_new:
            # What the old pool did not answer is asked again; to ask twice does no harm.
            self._subscribing = {ask: asking for ask, asking in self._subscribing.items() if ask in self._asked}
            for asked in list(self._asked.values()):
                with contextlib.suppress(PoolUnavailable):
                    self._send(asked.question)
        if is_new or (self._epoch and hello.is_first):
            log.warning("the pool is a new one, or had given this process up; readers attach anew")
            for subscriptions in list(self._subscriptions.values()):
                for subscription in subscriptions:
                    self.attach_anew(subscription)
        self._epoch = hello.epoch


def _connect(address: str) -> ZmqSocket[bytes]:
    dealer = zmq.Context().socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.SNDHWM, MOST_UNSENT)
    dealer.setsockopt(zmq.RECONNECT_IVL, 50)
    dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
    dealer.connect(address)
    return dealer


def _decoded(frame: bytes) -> list[PoolToWeb]:
    try:
        return decode_pool_to_web(frame)
    except msgspec.MsgspecError as error:
        # As when a new version of the web meets an older pool: no reader may be lost with one message.
        log.error("a message of the pool cannot be read: %s", error)
        return []


def _check_accepted(answer: Answer) -> None:
    if isinstance(answer, Refused):
        raise error_from_wire(answer.code, answer.message, answer.retry_after)
