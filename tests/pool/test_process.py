"""The pool's loop: nothing that comes in over its sockets ends it, and nothing it has to say is lost."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from msgspec import structs

from webapp.devices import Device
from webapp.pool.process import Pool
from webapp.processes import SUPERVISOR_VARIABLE
from webapp.settings import SettingInvalid, Settings
from webapp.wire.codec import decode_pool_to_engine, decode_pool_to_web, encode
from webapp.wire.generation import GenerationRequest, Queued
from webapp.wire.messages import (
    Abort,
    Accepted,
    Attach,
    EngineHeartbeat,
    EngineHello,
    EnginePing,
    EngineStop,
    PoolHello,
    Published,
    Submit,
    WebHello,
)

MODELS = Path(__file__).parents[1] / "models.toml"


READY_WITH_ONE_PLACE = EngineHeartbeat(
    load_fraction=1.0,
    is_ready=True,
    device="none",
    precision="scripted",
    capacity=1,
    memory_bytes=0,
    turn_age=0.0,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, cache_dir=tmp_path, run_dir=tmp_path, models_file=MODELS)


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def pool(settings: Settings) -> Iterator[Pool]:
    made = Pool(settings)
    yield made
    made._context.destroy(linger=0)


def peer(context: zmq.Context, address: str, name: bytes) -> zmq.Socket:
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.IDENTITY, name)
    dealer.setsockopt(zmq.RCVTIMEO, 2000)
    dealer.connect(address)
    return dealer


def take_turn(pool: Pool) -> None:
    """One turn of the loop, without its timers."""
    pool._read(pool._poll())
    pool._flush()


def heard(pool: Pool, web: zmq.Socket, kind: type) -> object:
    """The first message of this kind that the web process gets."""
    for _ in range(20):
        take_turn(pool)
        while web.poll(0):
            for message in decode_pool_to_web(web.recv()):
                if isinstance(message, kind):
                    return message
    raise AssertionError(f"no {kind.__name__}")


HOSTILE = [
    [b""],
    [b"\x00"],
    [b"\xff" * 100],
    [b"a", b"b"],
    [b"", b""],
    [b"a", b"b", b"c"],
    [bytes([0x92, 0xA6]) + b"Detach" + b"\xa2\xff\xfe"],
    [bytes([0x93, 0xA6]) + b"Detach" + b"\xa1g" + b"\x91" * 100_000],
    [encode(EngineHello(engine_id="x", pid=0, model="@jeton/scripted"))],
    [encode(EngineHello(engine_id="x", pid=-1, model="@jeton/scripted"))],
    [encode(Attach(ask=1, generation_id="g", owner="é", after=-1))],
    [encode(Abort(ask=1, generation_id="\x00", owner="é"))],
]


@pytest.mark.parametrize("frames", HOSTILE, ids=lambda frames: repr(frames)[:60])
def test_frames_of_any_kind_do_not_end_the_loop(
    pool: Pool, settings: Settings, context: zmq.Context, frames: list[bytes]
) -> None:
    for address in (settings.web_address, settings.engine_address):
        peer(context, address, b"\xff\xfehostile").send_multipart(frames)
    for _ in range(3):
        take_turn(pool)

    web = peer(context, settings.web_address, b"web")
    web.send(encode(WebHello(1, 2)))

    assert heard(pool, web, PoolHello).is_first


def test_web_process_that_is_gone_takes_no_message_of_the_others_with_it(
    pool: Pool, settings: Settings, context: zmq.Context
) -> None:
    # given: a web process that leaves while its answer is on its way
    gone, web = (peer(context, settings.web_address, name) for name in (b"gone", b"web"))
    gone.send(encode(WebHello(1, 2)))
    heard(pool, gone, PoolHello)
    gone.send(encode(WebHello(1, 2)))
    pool._read(pool._poll())
    gone.close(linger=0)

    # when: both are answered
    web.send(encode(WebHello(3, 2)))

    # then
    assert heard(pool, web, PoolHello)


class Web:
    """The socket to the web processes, where sending to one of them fails."""

    def __init__(self, gone: bytes) -> None:
        self._gone = gone
        self.sent: list[object] = []

    def send_multipart(self, frames: list[bytes], flags: int) -> None:
        if frames[0] == self._gone:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        self.sent += decode_pool_to_web(frames[1])


def submission(generation_id: str) -> Submit:
    request = GenerationRequest(model="@jeton/scripted", context_window=9, max_tokens=9, seed=1, prompt="Hi")
    return Submit(
        ask=7, generation_id=generation_id, owner="o", client="c", request=request, grace_seconds=0.0, attach=True
    )


def test_what_the_loss_of_a_web_process_brings_is_sent_with_the_next_turn(pool: Pool) -> None:
    # given: one place, which a reader of the lost web process holds, and two who wait
    (post,) = pool._roster
    post.started("7-1", 4000, 1.0)
    pool._dispatcher.from_engine("7-1", EngineHello(engine_id="7-1", pid=4000, model="@jeton/scripted"), 1.0)
    pool._dispatcher.from_engine("7-1", READY_WITH_ONE_PLACE, 1.0)
    for reader, name in ((b"gone", "g"), (b"web", "h"), (b"web", "i")):
        pool._dispatcher.from_web(reader, submission(name), 1.0)
    pool._web = Web(gone=b"gone")

    # when: the turn's messages are sent
    pool._flush()
    assert Published("i", 0, Queued(2)) in pool._web.sent
    pool._flush()

    # then: the last one in line learns that it has moved up
    assert Published("i", 0, Queued(1)) in pool._web.sent


def test_generation_travels_to_an_adopted_engine_and_stop_reaches_it(
    pool: Pool, settings: Settings, context: zmq.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: an engine of an earlier pool, which is this very process as far as its pid goes
    killed: list[int] = []
    monkeypatch.setattr("webapp.pool.engine_processes.STOP_SECONDS", 0.0)
    monkeypatch.setattr("webapp.pool.engine_processes.os.kill", lambda pid, number: killed.append(pid))
    engine, web = peer(context, settings.engine_address, b"3-1"), peer(context, settings.web_address, b"web")
    engine.send(encode(EngineHello(engine_id="3-1", pid=os.getpid(), model="@jeton/scripted")))
    engine.send(encode(READY_WITH_ONE_PLACE))
    take_turn(pool)

    # when
    web.send(encode(submission("g")))
    assert heard(pool, web, Accepted) == Accepted(ask=7)

    # then
    ping, dispatch = (decode_pool_to_engine(engine.recv()) for _ in range(2))
    assert ping == EnginePing(())
    assert (dispatch.generation_id, dispatch.request) == ("g", submission("g").request)
    pool._stop_engines()
    assert decode_pool_to_engine(engine.recv()) == EngineStop()
    assert killed == [os.getpid()]


def test_stop_ends_engines_that_are_connected_and_gone_alike(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr("webapp.pool.engine_processes.os.kill", lambda pid, number: killed.append(pid))
    for number, engine in enumerate(pool._roster):
        engine.started(f"7-{number}", 4000 + number, 1.0)
        engine.is_connected = True

    pool._stop_engines()

    assert killed == [4000]


def test_second_pool_on_one_folder_is_refused(pool: Pool, settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match="another pool"):
        Pool(settings)


@pytest.mark.parametrize("is_supervised", [True, False])
def test_pool_that_no_supervisor_started_logs_what_goes_where(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, is_supervised: bool
) -> None:
    monkeypatch.setenv(SUPERVISOR_VARIABLE, "1")
    if not is_supervised:
        monkeypatch.delenv(SUPERVISOR_VARIABLE)
    devices = (Device("cuda:0", "NVIDIA L4", 24 * 10**9),)

    with caplog.at_level(logging.INFO):
        pool = Pool(structs.replace(settings, stated_devices=devices))
    pool._context.destroy(linger=0)

    plan = [record.message for record in caplog.records if "NVIDIA L4" in record.message]
    assert len(plan) == (0 if is_supervised else 1)
    # Its posts are on that device either way.
    assert {engine.place.device for engine in pool._roster} == {"cuda:0"}
