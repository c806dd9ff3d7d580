"""Decode steps that are captured and replayed, as on a CUDA device, proven by a capture of the processor's own.

make_fx takes down what a step does as a CUDA graph does: the operations and the tensors they read and write, and
nothing of the Python around them. What is read from a number at the capture stays as it was there.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from tests.engine.driving import Drive, request
from tests.engine.tiny import tiny_runner
from webapp.engine import cuda
from webapp.engine.cuda import compiled_layers
from webapp.engine.decode_steps import Capture, Captured, CapturedSteps, DecodeSteps, Step, Way
from webapp.engine.hardware import Processor
from webapp.engine.slot_model import SlotModel
from webapp.engine.slot_runner import SlotRunner

_IDLE = (0, 0, 0)


class CapturingProcessor(Processor):
    """A processor whose decode steps are captured."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def decode_steps(self, step: Step, *, layers: Sequence[nn.Module]) -> DecodeSteps:
        return CapturedSteps(step, device="cpu", ways=[Way("captured", nullcontext, self._capture)])


def traced(run: Callable[[], Tensor]) -> Captured:
    graph = make_fx(run)()
    output = graph()
    return Captured(output, lambda: output.copy_(graph()))


def _no_progress(fraction: float) -> None:
    pass


def _texts(runner: SlotRunner) -> list[str]:
    drive = Drive(runner)
    answers = [
        drive.start(request(f"{at} " * (20 * at), raw=True, seed=at, temperature=1.0, max_tokens=25 + at))
        for at in range(1, 5)
    ]
    drive.finish()
    return [answer.text for answer in answers]


def test_replayed_steps_say_what_steps_say_that_are_run():
    runner = tiny_runner(hardware=CapturingProcessor(traced))
    model = runner._model
    assert isinstance(model, SlotModel)
    steps = model._steps
    assert isinstance(steps, CapturedSteps)
    done: list[float] = []
    runner._model.prepare(done.append)
    # From here on only what was captured can be run.
    steps._eager = None

    assert _texts(runner) == _texts(tiny_runner())
    # One, two and four rows, in one context.
    assert [round(fraction, 2) for fraction in done] == [0.33, 0.67, 1.0]


def _graph_of(run: Callable[[], Tensor]) -> Captured:
    output = run().clone()
    return Captured(output, lambda: output.copy_(run()))


def _deaf(run: Callable[[], Tensor]) -> Captured:
    """Replays what it was captured with."""
    return Captured(run().clone(), lambda: None)


def _not_a_number(run: Callable[[], Tensor]) -> Captured:
    return Captured(run() * float("nan"), lambda: None)


def _refused(run: Callable[[], Tensor]) -> Captured:
    raise RuntimeError("operation not permitted when stream is capturing")


def _double(inputs: Tensor, context: int) -> Tensor:
    return torch.stack([inputs[0].float() * 2, torch.ones(inputs.shape[1])], dim=-1)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [(_deaf, "a replayed step differs by"), (_not_a_number, "differs by nan"), (_refused, "not permitted")],
    ids=["deaf", "not-a-number", "refused"],
)
def test_a_way_that_does_not_work_is_left_and_the_log_says_why(
    broken: Capture, reason: str, caplog: pytest.LogCaptureFixture
):
    ways = [Way("captured badly", nullcontext, broken), Way("captured well", nullcontext, _graph_of)]
    steps = CapturedSteps(_double, device="cpu", ways=ways)

    with caplog.at_level(logging.INFO):
        steps.prepare([(1, 256), (2, 256)], idle=_IDLE, on_progress=_no_progress)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "cannot be captured badly" in caplog.messages[0] and reason in caplog.messages[0]
    assert caplog.messages[1] == "decode steps are captured well, in 2 shapes"
    assert steps.run(([3, 4], [0, 0], [0, 0]), context=256).tolist() == [[6, 1], [8, 1]]


def test_what_is_compiled_into_something_else_is_left(caplog: pytest.LogCaptureFixture):
    factor = 2

    @contextmanager
    def miscompiled() -> Iterator[None]:
        nonlocal factor
        factor = 3
        yield
        factor = 2

    def multiply(inputs: Tensor, context: int) -> Tensor:
        return inputs[0, :, None].float() * factor

    def kept(run: Callable[[], Tensor]) -> Captured:
        present = factor
        graph = _graph_of(run)

        def replay() -> None:
            nonlocal factor
            factor, before = present, factor
            graph.replay()
            factor = before

        return Captured(graph.output, replay)

    steps = CapturedSteps(
        multiply, device="cpu", ways=[Way("compiled", miscompiled, kept), Way("captured", nullcontext, kept)]
    )
    with caplog.at_level(logging.INFO):
        steps.prepare([(2, 256)], idle=_IDLE, on_progress=_no_progress)

    assert "cannot be compiled: ValueError: a replayed step differs by 0.5" in caplog.messages[0]
    assert steps.run(([3, 4], [0, 0], [0, 0]), context=256).tolist() == [[6], [8]]


def test_a_failed_capture_spoils_its_own_pool_alone(monkeypatch: pytest.MonkeyPatch):
    class Spoilt:
        """As torch has it: after a capture that failed its pool takes no other."""

        captures = 0

        def __init__(self, device: str) -> None:
            self.is_spoilt = False

        def capture(self, run: Callable[[], Tensor]) -> Captured:
            Spoilt.captures += 1
            self.is_spoilt |= Spoilt.captures == 2
            if self.is_spoilt:
                raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
            return _graph_of(run)

    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    monkeypatch.setattr(cuda, "CudaGraphCapture", Spoilt)
    steps = cuda.Cuda("cuda:0").decode_steps(_double, layers=[nn.Identity()])
    assert isinstance(steps, CapturedSteps)
    steps._device = "cpu"
    steps.prepare([(1, 256), (2, 256)], idle=_IDLE, on_progress=_no_progress)

    assert Spoilt.captures == 4
    assert set(steps._graphs) == {(1, 256), (2, 256)}


def test_without_a_way_that_works_and_in_other_shapes_steps_are_run(caplog: pytest.LogCaptureFixture):
    broken = CapturedSteps(_double, device="cpu", ways=[Way("captured", nullcontext, _refused)])
    broken.prepare([(1, 256)], idle=_IDLE, on_progress=_no_progress)
    working = CapturedSteps(_double, device="cpu", ways=[Way("captured", nullcontext, _graph_of)])
    working.prepare([(1, 256)], idle=_IDLE, on_progress=_no_progress)

    for steps in (broken, working):
        assert steps.run(([5], [0], [0]), context=256).tolist() == [[10, 1]]
        assert steps.run(([5, 6], [0, 0], [0, 0]), context=256).tolist() == [[10, 1], [12, 1]]
    assert "one kernel after the other" in caplog.messages[-1]


def test_compiled_layers_compute_the_same_and_are_compiled_once_for_all_layers(monkeypatch: pytest.MonkeyPatch):
    runner = tiny_runner()
    model = runner._model
    assert isinstance(model, SlotModel)
    layers = list(model._model.base_model.layers)
    inputs = {rows: torch.tensor([[7] * rows, [0] * rows, [3] * rows]) for rows in (1, 2)}
    expected = {rows: model._step(inputs[rows], 256) for rows in inputs}
    torch._dynamo.reset()
    graphs: list[str] = []

    def note(graph: torch.fx.GraphModule, example: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph.code)
        return graph.forward

    with torch.inference_mode(), compiled_layers(layers, backend=note):
        found = {rows: model._step(inputs[rows], 256) for rows in inputs}
        again = model._step(inputs[2], 256)

    for rows in inputs:
        torch.testing.assert_close(found[rows], expected[rows])
    torch.testing.assert_close(again, expected[2])
    # For one row and for two: the norm, the queries and keys, what is behind the attention, and the rest of a layer.
    # Both layers run the same ones.
    assert len(graphs) == 2 * 4
    assert all("forward" not in vars(layer) for layer in layers)
