"""Two variants of one model beside each other on one CUDA device, as engines of a real server.

Without a device one is stated by hand, and scripted engines are on it.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator

import pytest
import torch

from tests.engine.tiny import save_tiny
from tests.gpu.places import CUDA
from tests.harness import Server, make_server, wait_until

FULL, INT8 = "@jeton/full", "@jeton/int8"
_ENTRY = """
[[model]]
name = "{name}"
title = "{name}"
description = "One of two."
weights = {{ {weights} }}
precision = "{precision}"
context_window = 512
sequence_length = 512
slots = 4
devices = ["{device}"]
chat_template = "{template}"
is_loaded_at_start = true
"""
# Large enough for int8, and numbers small enough for 16 bits.
_SHAPE = {"hidden_size": 256, "intermediate_size": 512, "initializer_range": 0.02}
_PLACES = [pytest.param(True, id="stated"), pytest.param(False, id="cuda", marks=pytest.mark.gpu)]


@pytest.fixture(scope="module", params=_PLACES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("two-engines")
    template = folder / "plain.jinja"
    template.write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    weights = (
        "scripted = true"
        if request.param
        else f'folder = "{save_tiny(folder / "weights", dtype=torch.float16, **_SHAPE)}"'
    )
    precisions = ("scripted", "scripted") if request.param else ("full", "int8")
    entries = (
        _ENTRY.format(name=name, weights=weights, precision=precision, device=CUDA, template=template)
        for name, precision in zip((FULL, INT8), precisions, strict=True)
    )
    models = folder / "models.toml"
    models.write_text("".join(entries))
    stated = {"JETON_CUDA_DEVICES": "A stated GPU: 16 GB"} if request.param else {}
    made = make_server(folder, models_file=models, JETON_GRACE_SECONDS="60", JETON_DEVICE="auto", **stated)
    made.start()
    wait_until(lambda: all(made.engine_state(name) == "idle" for name in (FULL, INT8)), 400, lambda: made.output)
    yield made
    made.stop()


def _body(tokens: int) -> dict[str, object]:
    # A script to a scripted engine, and any text to a real one.
    prompt = json.dumps({"tokens": tokens, "step_seconds": 0.005})
    return {"prompt": prompt, "max_tokens": tokens, "seed": 3, "temperature": 1.0}


def test_both_are_on_the_device_and_answer_beside_each_other(server: Server):
    with server.streaming(FULL, **_body(300)) as one, server.streaming(INT8, **_body(300)) as other:
        next(one), next(other)
        engines = {name: server.engine(name) for name in (FULL, INT8)}
        ends = [[event.data for event in stream][-1] for stream in (one, other)]

    assert {engine["device"] for engine in engines.values()} == {CUDA}
    assert {engine["state"] for engine in engines.values()} == {"busy"}
    assert len({engine["pid"] for engine in engines.values()}) == 2
    assert ends == ["[DONE]", "[DONE]"]
    assert CUDA in server.output


def test_one_that_is_lost_disturbs_the_other_in_nothing_and_goes_on(server: Server):
    kept = server.engine(FULL)["pid"]
    readers: dict[str, Callable[[], list]] = {}
    reader = server.reader()
    for name in (FULL, INT8):
        url = reader.submit(model=name, **{field: str(value) for field, value in _body(300).items()})
        readers[name] = lambda url=url: reader.read_to_end(url)
    wait_until(lambda: server.engine_state(INT8) == "busy", 30)

    # As a process ends whose device is lost.
    os.kill(server.engine(INT8)["pid"], signal.SIGKILL)

    for name in (FULL, INT8):
        taken = readers[name]()
        assert taken[-1].data == "[DONE]"
        assert [event.event_id for event in taken] == [str(number) for number in range(1, len(taken) + 1)]
    assert server.engine(FULL)["pid"] == kept
    assert server.audit().returncode == 0
