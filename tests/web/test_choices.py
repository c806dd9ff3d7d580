"""Several generations as one stream: nothing lost, nothing kept without bound, and none left where one fails."""

from collections.abc import Callable, Iterator

import gevent
import pytest
from flask import Flask, Request, Response

from webapp.web import choices
from webapp.web.choices import Choices
from webapp.web.errors import GenerationFailed, PoolOverloaded, RateLimitReached
from webapp.web.request_fields import GenerationFields
from webapp.web.sse import KEEP_ALIVE, Item
from webapp.web.subscription import MOST_WAITING, Subscription
from webapp.wire.generation import Delta, Failed, Finished, GenerationRequest, Started, Usage
from webapp.wire.messages import Published, Submit

STARTED = Started(1, "cpu", "bf16")
END = Finished("stop", Usage(1, 1))


class Line:
    """A pool that is asked and does not answer."""

    def __init__(self) -> None:
        self.attached = 0
        self.forgotten: list[str] = []

    def next_ask(self) -> int:
        return 1

    def attach_anew(self, subscription: Subscription) -> None:
        self.attached += 1

    def forget(self, subscription: Subscription) -> None:
        self.forgotten.append(subscription.generation_id)


class Generations:
    """Generations that the test tells what to say; those with these ids are refused."""

    def __init__(self, *refused: str) -> None:
        self.line = Line()
        self.subscriptions: dict[str, Subscription] = {}
        self._ids: dict[str, int] = {}
        self._refused = refused

    def open(self, submit: Submit) -> Subscription:
        if submit.generation_id in self._refused:
            raise PoolOverloaded("The line is full.")
        subscription = Subscription(self.line, submit.generation_id, "owner")
        subscription.answered(is_accepted=True)
        self.subscriptions[submit.generation_id] = subscription
        self.say(submit.generation_id, STARTED)
        return subscription

    def say(self, generation_id: str, *said: Started | Delta | Finished | Failed) -> None:
        for event in said:
            event_id = 0 if isinstance(event, Started) else self._ids.get(generation_id, 0) + 1
            self._ids[generation_id] = event_id
            self.subscriptions[generation_id].put(Published(generation_id, event_id, event))


class Gate:
    """Counts, and lets so many through."""

    holder = "token:1"

    def __init__(self, most: int) -> None:
        self._left = most

    def count_generation(self, request: Request, *, count: int) -> None:
        if count > self._left:
            raise RateLimitReached("Too many.", retry_after=9)
        self._left -= count


def submits(count: int) -> list[Submit]:
    request = GenerationRequest(model="m", context_window=9, max_tokens=9, seed=1, prompt="p")
    return [
        Submit(ask=1, generation_id=str(index), owner="o", client="o", request=request, grace_seconds=0, attach=True)
        for index in range(count)
    ]


def text(text: str) -> Delta:
    return Delta(0, text, (1,))


def write(index: int, item: Item) -> bytes:
    match item:
        case Published(event=Delta(text=said)):
            return f"{index}{said} ".encode()
        case Published(event=Started()):
            return b""
        case _:
            return f"{index}. ".encode()


@pytest.fixture
def stream() -> Iterator[Callable[[Generations], tuple[Response, Iterator[bytes]]]]:
    """Starts the stream of two choices; its response and its chunks."""

    def start(generations: Generations) -> tuple[Response, Iterator[bytes]]:
        response = Choices(generations, None).stream(submits(2), write, opening=b"opening ")
        return response, iter(response.response)

    with Flask(__name__).test_request_context("/"):
        yield start


def settle() -> None:
    """Let every greenlet go on as far as it can."""
    for _ in range(10):
        gevent.sleep(0)


@pytest.mark.parametrize(("most", "is_enough"), [(3, True), (2, False)])
def test_each_choice_counts_as_a_generation(most: int, *, is_enough: bool) -> None:
    class Preparing:
        def prepare(self, fields: GenerationFields, model: str, **_: object) -> tuple[Submit, str, str]:
            return submits(1)[0], model, "its stand-in"

    with Flask(__name__).test_request_context("/"):
        asked = Choices(Preparing(), Gate(most))
        if is_enough:
            prepared = asked.prepare([GenerationFields()] * 3, "m")
            assert (len(prepared.submits), prepared.entry, prepared.serving) == (3, "m", "its stand-in")
        else:
            with pytest.raises(RateLimitReached):
                asked.prepare([GenerationFields()] * 3, "m")


def test_what_waits_of_all_choices_goes_out_as_one_chunk_and_in_order(stream) -> None:
    generations = Generations()
    _, chunks = stream(generations)

    assert [next(chunks), next(chunks)] == [b"opening ", b""]
    generations.say("1", text("a"), text("b"))
    generations.say("0", text("c"))
    settle()
    first = next(chunks)
    generations.say("0", text("d"), END)
    settle()
    second = next(chunks)
    generations.say("1", END)

    assert sorted(first.split()) == [b"0c", b"1a", b"1b"]
    assert first.index(b"1a") < first.index(b"1b")
    assert second == b"0d 0. "
    assert list(chunks) == [b"1. "]


def test_choices_that_ended_while_others_started_are_whole(stream) -> None:
    generations = Generations()
    opened = generations.open

    def open_and_end(submit: Submit) -> Subscription:
        subscription = opened(submit)
        generations.say(submit.generation_id, text("a"), END)
        return subscription

    generations.open = open_and_end
    _, chunks = stream(generations)

    assert list(chunks) == [b"opening ", b"0a 0. 1a 1. "]


def test_silence_is_filled_with_keep_alives(stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "KEEP_ALIVE_SECONDS", 0.01)
    generations = Generations()
    _, chunks = stream(generations)

    assert [next(chunks), next(chunks)] == [b"opening ", b""]
    assert [next(chunks), next(chunks)] == [KEEP_ALIVE, KEEP_ALIVE]
    generations.say("0", text("a"))
    settle()
    assert next(chunks) == b"0a "


def test_failure_of_one_ends_the_stream_and_all_the_others(stream) -> None:
    generations = Generations()
    response, chunks = stream(generations)
    assert [next(chunks), next(chunks)] == [b"opening ", b""]

    generations.say("1", text("a"), Failed("EngineLost", "lost"))
    settle()
    generations.say("0", text("b"))
    settle()

    assert list(chunks) == [b"1a 1. "]
    response.close()
    assert sorted(generations.line.forgotten) == ["0", "1"]


def test_reader_who_leaves_ends_all(stream) -> None:
    generations = Generations()
    response, chunks = stream(generations)
    assert [next(chunks), next(chunks)] == [b"opening ", b""]

    generations.subscriptions["1"].leave()

    assert list(chunks) == []
    response.close()
    assert sorted(generations.line.forgotten) == ["0", "1"]


def test_stream_that_nobody_reads_is_closed_all_the_same(stream) -> None:
    generations = Generations()
    response, _ = stream(generations)

    response.close()

    assert sorted(generations.line.forgotten) == ["0", "1"]


def test_refusal_of_one_ends_those_that_were_accepted(stream) -> None:
    generations = Generations("1")

    with pytest.raises(PoolOverloaded):
        stream(generations)

    assert generations.line.forgotten == ["0"]


def test_events_for_a_slow_reader_are_not_kept_without_bound(stream) -> None:
    generations = Generations()
    _, chunks = stream(generations)
    assert [next(chunks), next(chunks)] == [b"opening ", b""]

    for _ in range(MOST_WAITING + 10):
        generations.say("0", text("a"))
        gevent.sleep(0)
    kept = next(chunks).count(b"0a")
    settle()
    kept += next(chunks).count(b"0a")
    settle()

    # What was dropped is asked for again.
    assert kept <= MOST_WAITING + 3
    assert generations.line.attached == 1


def test_whole_answers_are_those_of_each_choice() -> None:
    generations = Generations()
    asked = submits(2)

    answers = gevent.spawn(Choices(generations, None).answers, asked)
    settle()
    generations.say("1", text("b"), END)
    generations.say("0", text("a"), END)

    assert [answer.text for answer in answers.get(timeout=5)] == ["a", "b"]
    assert sorted(generations.line.forgotten) == ["0", "1"]


def test_part_of_the_answers_is_no_answer() -> None:
    generations = Generations()

    answers = gevent.spawn(Choices(generations, None).answers, submits(2))
    settle()
    generations.say("0", text("a"), END)
    generations.say("1", text("b"), Failed("EngineLost", "lost"))

    with pytest.raises(GenerationFailed):
        answers.get(timeout=5)
    assert sorted(generations.line.forgotten) == ["0", "1"]
