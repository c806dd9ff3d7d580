"""Several answers to one request, as generations side by side: one stream of them all, or all of them whole.

Knows no dialect. One generation takes the same way as a dialect that has no choices.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial

import gevent
from flask import Response, request
from gevent import queue

from webapp.catalog import CatalogEntry
from webapp.web.errors import ReaderLeft
from webapp.web.gate import Gate
from webapp.web.generations import Generations, WholeAnswer, failure_of, read_until_started
from webapp.web.request_fields import GenerationFields
from webapp.web.sse import KEEP_ALIVE, KEEP_ALIVE_SECONDS, Item, event_stream, stream
from webapp.web.subscription import Subscription, is_end
from webapp.wire.messages import Submit

# Each takes a place of an engine; a client may have some 30 by default.
MOST_CHOICES = 16

# One event of the choice with this index, as bytes.
Write = Callable[[int, Item], bytes]


@dataclass(frozen=True)
class Prepared:
    """What to submit, one for each choice, the entry that was asked for and the one that answers."""

    submits: list[Submit]
    entry: CatalogEntry
    serving: CatalogEntry


class Choices:
    """Starts the generations of one request together; where one of them fails, none is left."""

    def __init__(self, generations: Generations, gate: Gate) -> None:
        self._generations = generations
        self._gate = gate

    def prepare(self, choices: Sequence[GenerationFields], model: str, *, logprobs: int | None = None) -> Prepared:
        """What to submit for these fields, of one choice at least, each of them counted. Raises RequestError."""
        holder = self._gate.holder
        prepared = [
            self._generations.prepare(fields, model, owner=holder, client=holder, logprobs=logprobs)
            for fields in choices
        ]
        # Together: a refusal costs none of what is left.
        self._gate.count_generation(request, count=len(prepared))
        _, entry, serving = prepared[0]
        return Prepared([submit for submit, _, _ in prepared], entry, serving)

    def answers(self, submits: Sequence[Submit]) -> list[WholeAnswer]:
        """Each choice's whole answer. Raises RequestError, also where one fails half-way."""
        if len(submits) == 1:
            return [self._generations.answer(submits[0])]
        answers = [WholeAnswer() for _ in submits]
        with ExitStack() as stack:
            subscriptions, started = self._start(submits, stack)
            with closing(_merged(subscriptions, started)) as merged:
                for taken in merged:
                    for index, item in taken:
                        answers[index].add(item)
                        if error := answers[index].error:
                            raise error
        return answers

    def stream(self, submits: Sequence[Submit], write: Write, *, opening: bytes) -> Response:
        """A response that writes every event of every choice, as it comes, after the frames in `opening`.

        Raises RequestError where one of them is refused, or fails before an engine has taken it.
        """
        if len(submits) == 1:
            subscription, items = self._generations.start(submits[0])
            return stream(subscription, partial(write, 0), items=items, opening=opening)
        with ExitStack() as stack:
            subscriptions, started = self._start(submits, stack)
            response = event_stream(_chunks(subscriptions, started, write, opening))
            # Also where the generator was never started, as for HEAD.
            response.call_on_close(stack.pop_all().close)
        return response

    def _start(self, submits: Sequence[Submit], stack: ExitStack) -> tuple[list[Subscription], list[list[Item]]]:
        # All stand in line before the first is waited for.
        subscriptions = [stack.enter_context(self._generations.open(submit)) for submit in submits]
        return subscriptions, [read_until_started(subscription) for subscription in subscriptions]


def _chunks(
    subscriptions: Sequence[Subscription], started: Sequence[list[Item]], write: Write, opening: bytes
) -> Generator[bytes]:
    yield opening
    with suppress(ReaderLeft), closing(_merged(subscriptions, started)) as merged:
        for taken in merged:
            failures = [position for position, (_, item) in enumerate(taken) if failure_of(item)]
            # Nothing follows the first failure.
            written = taken[: failures[0] + 1] if failures else taken
            yield b"".join(write(index, item) for index, item in written) if written else KEEP_ALIVE
            if failures:
                return


def _merged(subscriptions: Sequence[Subscription], started: Sequence[list[Item]]) -> Generator[list[tuple[int, Item]]]:
    """What comes of any of them until all have ended, each with its index; nothing at each silence.

    It begins with what each has `started` with. Raises ReaderLeft.
    """
    # Short: whose reader is slow keeps the events in the subscriptions, which drop them past their bound.
    waiting: queue.Queue[tuple[int, list[Item] | ReaderLeft]] = queue.Queue(len(subscriptions))
    readers = [
        gevent.spawn(_read, index, subscription, waiting)
        for index, subscription in enumerate(subscriptions)
        if not is_end(started[index][-1])
    ]
    running = len(readers)
    try:
        yield [(index, item) for index, items in enumerate(started) for item in items]
        while running:
            taken = _take(waiting)
            running -= sum(is_end(item) for _, item in taken)
            yield taken
    finally:
        gevent.killall(readers, block=False)


def _read(index: int, subscription: Subscription, waiting: "queue.Queue[tuple[int, list[Item] | ReaderLeft]]") -> None:
    try:
        items: list[Item] = []
        while not (items and is_end(items[-1])):
            if items := subscription.take(KEEP_ALIVE_SECONDS):
                waiting.put((index, items))
    except ReaderLeft as error:
        waiting.put((index, error))


def _take(waiting: "queue.Queue[tuple[int, list[Item] | ReaderLeft]]") -> list[tuple[int, Item]]:
    taken: list[tuple[int, Item]] = []
    with suppress(queue.Empty):
        index, items = waiting.get(timeout=KEEP_ALIVE_SECONDS)
        while True:
            if isinstance(items, ReaderLeft):
                raise items
            taken += [(index, item) for item in items]
            index, items = waiting.get_nowait()
    return taken
