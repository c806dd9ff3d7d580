"""Every message crosses as it is; whatever else comes in raises one kind of error."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webapp.wire import codec
from webapp.wire.generation import (
    ChosenTokenLogprob,
    Delta,
    Failed,
    Finished,
    GenerationRequest,
    Loading,
    Message,
    Queued,
    Started,
    Timings,
    TokenLogprob,
    Usage,
)
from webapp.wire.messages import (
    Abort,
    AbortLease,
    Accepted,
    AskHello,
    AskMetrics,
    AskRecord,
    AskState,
    AskTokenCount,
    Attach,
    CountTokens,
    Detach,
    Dispatch,
    DropReaders,
    Ended,
    EngineHeartbeat,
    EngineHello,
    EnginePing,
    EngineState,
    EngineStop,
    EngineToPool,
    GenerationRecord,
    Gone,
    LeaseEvent,
    LoadFailed,
    MemoryState,
    MetricsText,
    PoolHello,
    PoolState,
    PoolToEngine,
    PoolToWeb,
    Published,
    ReadersDropped,
    Refused,
    StepEvents,
    Submit,
    TokenCount,
    TokensCounted,
    WebHello,
    WebState,
    WebToPool,
)

DECODERS = (
    codec.decode_web_to_pool,
    codec.decode_pool_to_web,
    codec.decode_pool_to_engine,
    codec.decode_engine_to_pool,
)

REQUEST = GenerationRequest(
    model="@a/b",
    context_window=2048,
    max_tokens=7,
    seed=9_999_999_999,
    messages=(Message("system", "Be brief."), Message("user", "Où est New York ? 🗽\r\n\0\u2028")),
    raw=True,
    temperature=0.0,
    top_p=0.5,
    top_k=3,
    repetition_penalty=1.5,
    frequency_penalty=-2.0,
    presence_penalty=2.0,
    stop=("\n\n", "END"),
    min_p=0.05,
    logprobs=0,
    asked_model="@a/asked",
)
LOGPROB = ChosenTokenLogprob(1, b"\xf0\x9f", -0.5, (TokenLogprob(1, b"\xf0\x9f", -0.5), TokenLogprob(2, b"", -9999.0)))
ENGINE = EngineState(
    engine_id="1-1",
    pid=12,
    model="@a/b",
    device="cuda:0",
    precision="fp16",
    state="busy",
    load_fraction=1.0,
    memory_bytes=2**40,
    capacity=16,
    running=3,
    restarts=1,
    seconds_since_token=None,
    error="it hangs",
)

FROM_WEB = [
    WebHello(1, 2),
    Submit(
        ask=2**40,
        generation_id="g",
        owner="é",
        client="c",
        request=REQUEST,
        grace_seconds=1.5,
        attach=True,
        reject_if_busy=True,
    ),
    Attach(ask=1, generation_id="g", owner="o", after=3),
    Detach("g"),
    Abort(ask=2, generation_id="g", owner="o"),
    AskState(ask=3, probe=True),
    AskMetrics(ask=4),
    AskRecord(ask=5, generation_id="g", owner="é"),
    DropReaders(ask=6, generation_id="g", owner="o"),
    AskTokenCount(ask=7, request=REQUEST),
]
TO_WEB = [
    PoolHello("epoch", is_first=True),
    Published("g", 0, Queued(3)),
    Published("g", 0, Loading(0.25)),
    Published("g", 0, Started(12, "cpu", "bf16")),
    Published("g", 1, Delta(0, "Hé\r\n\0", (1, 2))),
    Published("g", 1, Delta(0, "a", (1,), (LOGPROB,))),
    Published("g", 2, Finished("length", Usage(1, 2), Timings(0.1, 0.2, 0.3))),
    Published("g", 2, Failed("EngineLost", "why")),
    Accepted(ask=1),
    Refused(ask=2, code="PoolOverloaded", message="later", retry_after=3),
    Ended(ask=3),
    Gone(ask=4, is_known=True),
    PoolState(
        ask=5,
        epoch="e",
        pid=1,
        parent_pid=2,
        engines=[ENGINE],
        web_processes=[WebState(3, 4)],
        waiting={"@a/b": 2},
        running=3,
        memories=[
            MemoryState(device="cpu", title="", budget_bytes=None, taken_bytes=5),
            MemoryState(device="cuda:0", title="NVIDIA H200", budget_bytes=2**40, taken_bytes=0),
        ],
    ),
    MetricsText(ask=6, content_type="text/plain", text="# HELP é\n"),
    GenerationRecord(
        ask=7,
        request=REQUEST,
        prompt_tokens=12,
        device="cpu",
        precision="int4",
        texts=[(0, ""), (15, "Hé\r\n\0"), (2**40, "🗽")],
        end=Finished("stop", Usage(12, 3), Timings(0.1, 0.2, 0.3)),
    ),
    GenerationRecord(ask=8, request=REQUEST, prompt_tokens=0, device="", precision="", texts=[], end=None),
    ReadersDropped("g"),
    TokenCount(ask=9, prompt_tokens=12),
    TokenCount(ask=10, code="InvalidPrompt", message="why"),
]
TO_ENGINE = [
    Dispatch(generation_id="g", lease=2**62, request=REQUEST, token_ids=(1, 2, 3)),
    AbortLease("g", 5),
    EnginePing((1, 2**62)),
    AskHello(),
    CountTokens(asker=b"\0\xff\x80", ask=2**40, request=REQUEST),
    EngineStop(),
]
FROM_ENGINE = [
    EngineHello(engine_id="1-1", pid=2**22, model="@a/b"),
    EngineHello(engine_id="1-2", pid=1, model="@a/b", device="cuda:1"),
    EngineHeartbeat(
        load_fraction=0.5,
        is_ready=False,
        device="cpu",
        precision="int8",
        capacity=4,
        memory_bytes=2**40,
        turn_age=0.5,
    ),
    StepEvents(
        [LeaseEvent("g", 7, Delta(0, "a", (1,), (LOGPROB,))), LeaseEvent("h", 8, Finished("stop", Usage(1, 1)))]
    ),
    LoadFailed("no weights"),
    TokensCounted(asker=b"\0\xff\x80", ask=1, prompt_tokens=0),
    TokensCounted(asker=b"", ask=2**40, code="InvalidPrompt", message="why"),
]


@pytest.mark.parametrize("message", FROM_WEB, ids=repr)
def test_message_of_a_web_process_reaches_the_pool_unchanged(message: WebToPool) -> None:
    assert codec.decode_web_to_pool(codec.encode(message)) == message


@pytest.mark.parametrize("message", FROM_ENGINE, ids=repr)
def test_message_of_an_engine_reaches_the_pool_unchanged(message: EngineToPool) -> None:
    assert codec.decode_engine_to_pool(codec.encode(message)) == message


@pytest.mark.parametrize("message", TO_ENGINE, ids=repr)
def test_message_of_the_pool_reaches_an_engine_unchanged(message: PoolToEngine) -> None:
    assert codec.decode_pool_to_engine(codec.encode(message)) == message


def test_messages_of_one_step_reach_a_web_process_unchanged_and_in_order() -> None:
    assert codec.decode_pool_to_web(codec.encode(TO_WEB)) == TO_WEB


@pytest.mark.parametrize(
    ("union", "samples"),
    [(WebToPool, FROM_WEB), (PoolToWeb, TO_WEB), (PoolToEngine, TO_ENGINE), (EngineToPool, FROM_ENGINE)],
    ids=["web to pool", "pool to web", "pool to engine", "engine to pool"],
)
def test_no_message_of_the_wire_is_left_out_here(union: object, samples: list[object]) -> None:
    assert {type(sample) for sample in samples} == set(union.__args__)


@given(
    text=st.text(st.characters(codec="utf-8")),
    token_ids=st.lists(st.integers(0, 2**31)),
    position=st.integers(0, 2**31),
)
def test_any_text_and_token_ids_cross_unchanged(text: str, token_ids: list[int], position: int) -> None:
    message = StepEvents([LeaseEvent("g", 1, Delta(position, text, tuple(token_ids)))])

    assert codec.decode_engine_to_pool(codec.encode(message)) == message


def test_a_delta_without_log_probabilities_is_read_as_one_that_has_none() -> None:
    frame = codec.encode(["StepEvents", [["g", 1, ["d", 0, "a", [1]]]]])

    assert codec.decode_engine_to_pool(frame) == StepEvents([LeaseEvent("g", 1, Delta(0, "a", (1,)))])


def test_a_request_of_an_earlier_version_is_read_as_one_for_the_model_that_answers() -> None:
    request = {"model": "@a/b", "context_window": 9, "max_tokens": 2, "seed": 1, "prompt": "Hi"}
    frame = codec.encode(["Submit", 1, "g", "o", "c", request, 0.0])

    submit = codec.decode_web_to_pool(frame)

    assert isinstance(submit, Submit)
    assert (submit.request.asked_model, submit.request.prompt) == ("", "Hi")


def _tagged(name: bytes, *rest: bytes) -> bytes:
    return bytes([0x91 + len(rest), 0xA0 + len(name)]) + name + b"".join(rest)


# What random bytes rarely find: text that is no UTF-8, nesting without end, a length that nothing follows.
NOT_UTF8 = _tagged(b"Detach", b"\xa2\xff\xfe")
DEEP = _tagged(b"Detach", b"\xa1g", b"\x91" * 100_000)
ENDLESS = _tagged(b"StepEvents", b"\xdd\xff\xff\xff\xff")


@given(frame=st.binary(max_size=200))
@example(frame=b"")
@example(frame=NOT_UTF8)
@example(frame=DEEP)
@example(frame=ENDLESS)
def test_random_bytes_raise_nothing_but_msgspec_errors(frame: bytes) -> None:
    for decode in DECODERS:
        try:
            decode(frame)
        except msgspec.MsgspecError:
            continue


@given(
    place=st.integers(0, 10_000),
    byte=st.integers(0, 255),
    sample=st.sampled_from([*FROM_WEB, *FROM_ENGINE, *TO_ENGINE, TO_WEB]),
)
def test_one_damaged_byte_raises_nothing_but_msgspec_errors(place: int, byte: int, sample: object) -> None:
    frame = bytearray(codec.encode(sample))
    frame[place % len(frame)] = byte

    for decode in DECODERS:
        try:
            decode(bytes(frame))
        except msgspec.MsgspecError:
            continue


@pytest.mark.parametrize("frame", [NOT_UTF8, DEEP], ids=["not UTF-8", "deep"])
def test_frame_that_msgspec_lets_through_raises_a_msgspec_error(frame: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        codec.decode_web_to_pool(frame)


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 2**63])
def test_hello_of_an_engine_whose_pid_no_process_can_have_is_refused(pid: int) -> None:
    frame = codec.encode(EngineHello(engine_id="1-1", pid=pid, model="@a/b"))

    with pytest.raises(msgspec.ValidationError):
        codec.decode_engine_to_pool(frame)
