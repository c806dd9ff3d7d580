"""A reader's view of a generation: in order, once, whole, whatever is lost or late between the pool and it."""

from collections.abc import Callable

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.web import pool_client
from webapp.web.errors import GenerationNotFound, InvalidPrompt, PoolUnavailable, ReaderLeft
from webapp.web.pool_client import PoolClient
from webapp.web.subscription import MOST_WAITING, Subscription
from webapp.wire.codec import decode_web_to_pool, encode
from webapp.wire.generation import Delta, Finished, GenerationRequest, Queued, Usage
from webapp.wire.messages import (
    Abort,
    Accepted,
    AskRecord,
    AskTokenCount,
    Attach,
    Detach,
    DropReaders,
    Ended,
    GenerationRecord,
    Gone,
    PoolHello,
    PoolToWeb,
    Published,
    ReadersDropped,
    Refused,
    Submit,
    TokenCount,
    WebToPool,
)

END = Finished("stop", Usage(1, 1))


def event(event_id: int) -> Published:
    return Published("g", event_id, Delta(event_id - 1, f"{event_id} ", (event_id,)))


def status(place: int = 1) -> Published:
    return Published("g", 0, Queued(place))


class Client:
    """Takes note of what a subscription asks; answers nothing by itself."""

    def __init__(self) -> None:
        self.questions: list[Attach] = []
        self.forgotten: list[Subscription] = []

    def next_ask(self) -> int:
        return len(self.questions) + 1

    def attach_anew(self, subscription: Subscription) -> None:
        self.questions.append(subscription.question())

    def forget(self, subscription: Subscription) -> None:
        self.forgotten.append(subscription)


def reading(*, after: int = 0) -> tuple[Subscription, Client]:
    client = Client()
    subscription = Subscription(client, "g", "owner", after=after)
    subscription.answered(is_accepted=True)
    return subscription, client


def taken(subscription: Subscription) -> list[int]:
    """The ids of what waits, which must be in order."""
    return [item.event_id for item in subscription.take(0) if isinstance(item, Published)]


# --- a subscription ---


def test_end_before_what_was_already_read_is_no_end() -> None:
    subscription, client = reading(after=6)

    subscription.put(event(4))
    subscription.put(Published("g", 5, END))

    assert subscription.take(0) == [Gone(ask=0, is_known=True)]
    assert client.questions == []


def test_end_that_was_already_read_ends_the_stream() -> None:
    subscription, _ = reading(after=5)

    subscription.put(Published("g", 5, END))

    with pytest.raises(ReaderLeft):
        subscription.take(0)


def test_events_are_taken_in_order_all_at_once() -> None:
    subscription, client = reading()
    for event_id in (1, 2, 3):
        subscription.put(event(event_id))

    assert taken(subscription) == [1, 2, 3]
    assert taken(subscription) == []
    assert client.questions == []


def test_repeated_events_are_taken_once() -> None:
    subscription, client = reading()
    for event_id in (1, 2, 1, 2, 3, 3):
        subscription.put(event(event_id))

    assert taken(subscription) == [1, 2, 3]
    assert client.questions == []


def test_nothing_is_taken_before_the_pool_has_accepted() -> None:
    client = Client()
    subscription = Subscription(client, "g", "owner")

    subscription.put(event(1))
    subscription.put(status())
    subscription.put(event(5))

    assert taken(subscription) == []
    assert client.questions == []


def test_resumed_reader_takes_only_later_events() -> None:
    subscription, _ = reading(after=2)

    for event_id in (1, 2, 3):
        subscription.put(event(event_id))

    assert taken(subscription) == [3]


def test_gap_asks_once_for_what_is_missing_and_goes_on_without_loss() -> None:
    subscription, client = reading()
    subscription.put(event(1))

    for event_id in (4, 5, 6):
        subscription.put(event(event_id))

    assert [(question.generation_id, question.owner, question.after) for question in client.questions] == [
        ("g", "owner", 1)
    ]
    subscription.answered(is_accepted=True)
    for event_id in range(2, 8):
        subscription.put(event(event_id))
    assert taken(subscription) == [1, 2, 3, 4, 5, 6, 7]


def test_second_gap_asks_again() -> None:
    subscription, client = reading()
    subscription.put(event(3))
    subscription.answered(is_accepted=True)

    subscription.put(event(4))

    assert [question.after for question in client.questions] == [0, 0]


def test_status_has_no_number_and_is_always_taken() -> None:
    subscription, _ = reading()

    subscription.put(status(2))
    subscription.put(event(1))
    subscription.put(status(1))

    assert taken(subscription) == [0, 1, 0]


def test_nothing_is_taken_after_the_end() -> None:
    subscription, _ = reading()
    subscription.put(Published("g", 1, END))

    subscription.put(status())
    subscription.put(Gone(ask=1))

    assert subscription.take(0) == [Published("g", 1, END)]


def serve_from(log: list[Published], subscription: Subscription, client: Client) -> None:
    """Answer the last question as the pool does: accept, then replay, all before anything else is read."""
    after = client.questions[-1].after
    subscription.answered(is_accepted=True)
    for published in log[after:]:
        subscription.put(published)


def test_slow_reader_catches_up_without_loss_and_in_bounded_memory() -> None:
    # given: more events than may wait for one reader, who takes nothing
    log = [event(event_id) for event_id in range(1, 3 * MOST_WAITING)]
    subscription, client = reading()
    for published in log:
        subscription.put(published)
    assert client.questions == []

    # when: it reads again, while the generation goes on
    read = taken(subscription)
    assert len(read) == MOST_WAITING
    turns = 0
    while len(read) < len(log):
        serve_from(log, subscription, client)
        more = taken(subscription)
        assert 0 < len(more) <= MOST_WAITING
        read += more
        turns += 1

    # then: nothing is missing, and it has asked once for each time it fell behind
    assert read == [published.event_id for published in log]
    assert turns <= 3


def test_live_events_while_catching_up_ask_no_more_questions() -> None:
    subscription, client = reading()
    for event_id in range(1, MOST_WAITING + 10):
        subscription.put(event(event_id))
    taken(subscription)

    for event_id in range(MOST_WAITING + 10, MOST_WAITING + 60):
        subscription.put(event(event_id))

    assert [question.after for question in client.questions] == [MOST_WAITING]


@given(st.lists(st.sampled_from(["next", "skip", "repeat", "status", "take", "answer"]), max_size=60))
def test_whatever_is_lost_or_repeated_the_reader_sees_each_id_once_and_in_order(steps: list[str]) -> None:
    subscription, client = reading()
    log: list[Published] = []
    read: list[int] = []
    answered = 0
    for step in [*steps, "next", "answer", "answer", "take"]:
        match step:
            case "next" | "skip":
                log.append(event(len(log) + 1))
                if step == "next":
                    subscription.put(log[-1])
            case "repeat" if log:
                subscription.put(log[-1])
            case "status":
                subscription.put(status())
            case "take":
                read += [event_id for event_id in taken(subscription) if event_id]
            case "answer" if len(client.questions) > answered:
                answered = len(client.questions)
                serve_from(log, subscription, client)

    assert read == list(range(1, len(log) + 1))


def test_take_waits_for_what_comes() -> None:
    subscription, _ = reading()
    gevent.spawn(subscription.put, event(1))

    assert [item.event_id for item in subscription.take(5)] == [1]


def test_reader_who_leaves_wakes_take() -> None:
    subscription, _ = reading()
    gevent.spawn(subscription.leave)

    with pytest.raises(ReaderLeft):
        subscription.take(5)


def test_close_is_told_once() -> None:
    subscription, client = reading()

    with subscription:
        pass
    subscription.close()

    assert client.forgotten == [subscription]


# --- the client, with a socket that keeps what is sent ---


class Socket:
    """What the client sends, in order; `is_full` refuses as a socket at its high-water mark does."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_full = False

    def send(self, frame: bytes, flags: int) -> None:
        if self.is_full:
            raise pool_client.zmq.Again
        self.sent.append(frame)


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
def client(socket: Socket, monkeypatch: pytest.MonkeyPatch) -> PoolClient:
    """A client whose answers the test gives, by calling `take`."""
    monkeypatch.setattr(pool_client, "ANSWER_SECONDS", 0.01)
    made = PoolClient("ipc:///nowhere")
    made._socket = socket
    return made


def sent(socket: Socket) -> list[WebToPool]:
    return [decode_web_to_pool(frame) for frame in socket.sent]


def take(client: PoolClient, *messages: PoolToWeb) -> None:
    for message in messages:
        client._take(message)


def submit(client: PoolClient, generation_id: str = "g") -> Submit:
    request = GenerationRequest(model="@a/b", context_window=9, max_tokens=9, seed=1, prompt="Hi")
    return Submit(
        ask=client.next_ask(),
        generation_id=generation_id,
        owner="owner",
        client="c",
        request=request,
        grace_seconds=0.0,
        attach=True,
    )


def generate(client: PoolClient, *, answer: PoolToWeb | None = None) -> Subscription:
    question = submit(client)
    gevent.spawn(take, client, answer or Accepted(ask=question.ask))
    return client.generate(question)


def attaches(socket: Socket) -> list[Attach]:
    return [message for message in sent(socket) if isinstance(message, Attach)]


def test_generation_is_read_from_its_first_event(client: PoolClient) -> None:
    subscription = generate(client)

    take(client, event(1), event(2))

    assert taken(subscription) == [1, 2]


def test_refusal_is_raised_with_its_code_and_time(client: PoolClient) -> None:
    with pytest.raises(pool_client.error_from_wire("PoolOverloaded", "").__class__) as refused:
        generate(client, answer=Refused(ask=1, code="PoolOverloaded", message="later", retry_after=7))

    assert refused.value.retry_after == 7
    assert not client._subscriptions and not client._subscribing and not client._asked


def test_pool_that_does_not_answer_is_unavailable_and_is_told_that_nobody_reads(
    client: PoolClient, socket: Socket
) -> None:
    with pytest.raises(PoolUnavailable):
        client.generate(submit(client))

    assert isinstance(sent(socket)[-1], Detach)
    assert not client._subscriptions and not client._subscribing and not client._asked


def test_late_answer_to_a_question_that_was_given_up_subscribes_nobody(client: PoolClient) -> None:
    question = submit(client)
    with pytest.raises(PoolUnavailable):
        client.generate(question)

    take(client, Accepted(ask=question.ask), event(1))

    assert not client._subscriptions


def test_time_out_of_one_reader_leaves_the_others_of_this_process_attached(client: PoolClient, socket: Socket) -> None:
    subscription = generate(client)

    with pytest.raises(PoolUnavailable):
        client.attach("g", "owner", after=0)
    take(client, event(1))

    assert not any(isinstance(message, Detach) for message in sent(socket))
    assert taken(subscription) == [1]


def test_last_reader_who_closes_detaches(client: PoolClient, socket: Socket) -> None:
    first = generate(client)
    gevent.spawn(take, client, Accepted(ask=2))
    second = client.attach("g", "owner", after=0)
    assert second is not None

    first.close()
    assert not any(isinstance(message, Detach) for message in sent(socket))
    second.close()

    assert sent(socket)[-1] == Detach("g")
    assert not client._subscriptions


def test_reader_who_closes_while_it_attaches_anew_leaves_nothing_behind(client: PoolClient, socket: Socket) -> None:
    # given: a reader that has seen a gap, and whose question is on its way
    subscription = generate(client)
    take(client, event(3))
    (question,) = attaches(socket)

    # when: it closes before the answer comes
    subscription.close()
    take(client, Accepted(ask=question.ask), event(1))

    # then: it is not a reader again, which nobody would ever close
    assert not client._subscriptions and not client._subscribing


def test_reader_who_comes_while_the_last_one_closes_is_attached_after_all(client: PoolClient, socket: Socket) -> None:
    # given: a second reader, whose question is on its way
    first = generate(client)
    coming = gevent.spawn(client.attach, "g", "owner", after=0)
    gevent.sleep(0)
    (question,) = attaches(socket)

    # when: the first one closes before the answer comes
    first.close()
    take(client, Accepted(ask=question.ask))
    second = coming.get()

    # then: what the pool hears last is that somebody reads
    assert second is not None
    assert [type(message) for message in sent(socket)[-2:]] == [Detach, Attach]
    assert client._subscriptions["g"] == [second]


def test_ended_and_gone_are_told_apart(client: PoolClient) -> None:
    gevent.spawn(take, client, Ended(ask=1))
    assert client.attach("g", "owner", after=3) is None

    gevent.spawn(take, client, Gone(ask=2))
    with pytest.raises(pool_client.GenerationNotFound):
        client.attach("g", "owner", after=3)

    gevent.spawn(take, client, Gone(ask=3, is_known=True))
    subscription = client.attach("g", "owner", after=9)
    assert subscription is not None
    assert subscription.take(0) == [Gone(ask=3, is_known=True)]


def test_abort_of_an_unknown_generation_is_not_found(client: PoolClient, socket: Socket) -> None:
    gevent.spawn(take, client, Gone(ask=1))

    with pytest.raises(pool_client.GenerationNotFound):
        client.abort("g", "owner")
    assert sent(socket) == [Abort(ask=1, generation_id="g", owner="owner")]


@pytest.mark.parametrize("hello", [PoolHello("new"), PoolHello("old", is_first=True)], ids=["new pool", "given up"])
def test_readers_attach_anew_after_what_they_have(client: PoolClient, socket: Socket, hello: PoolHello) -> None:
    subscription = generate(client)
    take(client, PoolHello("old", is_first=True), event(1), event(2))
    assert attaches(socket) == []

    take(client, hello)

    (question,) = attaches(socket)
    assert question.after == 2
    take(client, Accepted(ask=question.ask), event(3))
    assert taken(subscription) == [1, 2, 3]


def test_reader_of_a_generation_that_the_new_pool_does_not_have_is_told(client: PoolClient, socket: Socket) -> None:
    subscription = generate(client)
    take(client, PoolHello("old"), event(1), PoolHello("new"))

    take(client, Gone(ask=attaches(socket)[0].ask))

    assert [type(item) for item in subscription.take(0)] == [Published, Gone]


def test_questions_to_a_pool_that_is_gone_are_not_kept(client: PoolClient) -> None:
    generate(client)
    for epoch in ("a", "b", "c", "d"):
        take(client, PoolHello(epoch))

    assert len(client._subscribing) == 1


def test_reader_that_cannot_ask_now_asks_at_its_next_turn(client: PoolClient, socket: Socket) -> None:
    subscription = generate(client)
    take(client, PoolHello("old"), event(1))
    socket.is_full = True
    take(client, PoolHello("new"))
    assert taken(subscription) == [1]
    assert client._subscribing == {}

    socket.is_full = False
    taken(subscription)
    take(client, Accepted(ask=attaches(socket)[0].ask), event(2))

    assert taken(subscription) == [2]


def test_reader_who_closes_while_the_socket_is_full_is_forgotten_all_the_same(
    client: PoolClient, socket: Socket
) -> None:
    subscription = generate(client)
    socket.is_full = True

    subscription.close()

    assert not client._subscriptions


def test_full_socket_makes_the_pool_unavailable(client: PoolClient, socket: Socket) -> None:
    socket.is_full = True

    with pytest.raises(PoolUnavailable):
        client.state()
    assert not client._asked


def test_frame_that_cannot_be_read_is_left_out() -> None:
    assert pool_client._decoded(b"\xff\x00") == []
    assert pool_client._decoded(encode([Accepted(ask=1)])) == [Accepted(ask=1)]


def test_what_the_killed_pool_did_not_answer_is_asked_again(client: PoolClient, socket: Socket) -> None:
    # given: a question, and no answer before another pool has come
    take(client, PoolHello("a"))
    question = submit(client)
    asking = gevent.spawn(client.generate, question)
    gevent.sleep(0)
    take(client, PoolHello("b"))

    # when: the new one answers
    assert [message for message in sent(socket) if isinstance(message, Submit)] == [question, question]
    take(client, Accepted(ask=question.ask), event(1))

    # then: whoever asked has noticed nothing
    assert taken(asking.get()) == [1]


# --- questions about a generation and a prompt ---

REQUEST = GenerationRequest(model="@a/b", context_window=9, max_tokens=9, seed=1, prompt="Hi")


def test_record_is_what_the_pool_says(client: PoolClient, socket: Socket) -> None:
    record = GenerationRecord(
        ask=1, request=REQUEST, prompt_tokens=3, device="cpu", precision="int4", texts=[(5, "a")], end=END
    )
    gevent.spawn(take, client, record)

    assert client.record("g", "owner") == record
    assert sent(socket) == [AskRecord(ask=1, generation_id="g", owner="owner")]


@pytest.mark.parametrize("ask", [PoolClient.record, PoolClient.drop_readers], ids=["record", "drop"])
def test_question_about_a_generation_that_is_gone_finds_none(
    client: PoolClient, ask: Callable[[PoolClient, str, str], object]
) -> None:
    gevent.spawn(take, client, Gone(ask=1))

    with pytest.raises(GenerationNotFound):
        ask(client, "g", "owner")


def test_dropped_readers_leave_where_they_can_resume(client: PoolClient, socket: Socket) -> None:
    # given: a reader of the API, a reader of the playground, and one of another generation
    api = generate(client)
    gevent.spawn(take, client, Accepted(ask=2))
    page = client.attach("g", "owner", after=0)
    gevent.spawn(take, client, Accepted(ask=3))
    other = client.attach("other", "owner", after=0)
    assert page and other

    # when
    gevent.spawn(take, client, Accepted(ask=4), ReadersDropped("g"), event(1))
    client.drop_readers("g", "owner")

    # then
    assert taken(api) == [1]
    with pytest.raises(ReaderLeft):
        page.take(0)
    assert taken(other) == []
    assert sent(socket)[-1] == DropReaders(ask=4, generation_id="g", owner="owner")
    # ... and one who comes back is not cut off again.
    page.close()
    gevent.spawn(take, client, Accepted(ask=5))
    back = client.attach("g", "owner", after=1)
    take(client, event(2))
    assert back and taken(back) == [2]


def test_tokens_are_counted_by_the_pool(client: PoolClient, socket: Socket) -> None:
    gevent.spawn(take, client, TokenCount(ask=1, prompt_tokens=12))
    assert client.count_tokens(REQUEST) == 12

    gevent.spawn(take, client, TokenCount(ask=2))
    assert client.count_tokens(REQUEST) is None

    gevent.spawn(take, client, TokenCount(ask=3, code="InvalidPrompt", message="No system turn."))
    with pytest.raises(InvalidPrompt, match="No system turn"):
        client.count_tokens(REQUEST)
    assert sent(socket)[0] == AskTokenCount(ask=1, request=REQUEST)


def test_nobody_who_counts_in_time_is_no_error(
    client: PoolClient, socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_client, "COUNT_SECONDS", 0.01)
    monkeypatch.setattr(pool_client, "ANSWER_SECONDS", 60.0)

    assert client.count_tokens(REQUEST) is None
    socket.is_full = True
    assert client.count_tokens(REQUEST) is None
    # The count that comes too late is nobody's.
    take(client, TokenCount(ask=1, prompt_tokens=12))
    assert client._asked == {}
