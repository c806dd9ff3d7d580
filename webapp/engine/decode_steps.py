"""How the decode steps of a model are run: as they are, or captured once for each shape and replayed.

Knows tensors and shapes, nothing of slots or of what a step computes.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_log = logging.getLogger(__name__)

# Token ids, positions and where to write, int64 of shape (3, rows), and a context, to logits (rows, vocabulary).
Step = Callable[[Tensor, int], Tensor]
# Rows and context.
Shape = tuple[int, int]
# By how much of their length logits may differ that were computed in another order, and, compiled, with fewer
# roundings. Those of other token ids differ by more than all of it.
_TOLERANCE = 0.1


class DecodeSteps(Protocol):
    def prepare(self, shapes: Iterable[Shape], *, idle: Sequence[int], on_progress: Callable[[float], None]) -> None:
        """Make ready for these shapes. `idle` is the column of a row that nobody asked for."""
        ...

    def run(self, inputs: Sequence[Sequence[int]], *, context: int) -> Tensor:
        """The logits (rows, vocabulary) of one step; they hold until the next one."""
        ...


class EagerSteps:
    """Each step is run as it is written."""

    def __init__(self, step: Step, *, device: str) -> None:
        self._step = step
        self._device = device

    def prepare(self, shapes: Iterable[Shape], *, idle: Sequence[int], on_progress: Callable[[float], None]) -> None:
        pass

    def run(self, inputs: Sequence[Sequence[int]], *, context: int) -> Tensor:
        return self._step(torch.tensor(inputs, device=self._device), context)


@dataclass(frozen=True)
class Captured:
    """`replay` computes `output` anew, in its place, from what stands in the captured inputs."""

    output: Tensor
    replay: Callable[[], object]


# Runs what it is given, and takes down what that does on the device.
Capture = Callable[[Callable[[], Tensor]], Captured]


@dataclass(frozen=True)
class Way:
    """A way to capture; `around` is entered while all shapes are captured."""

    name: str
    around: Callable[[], AbstractContextManager[None]]
    capture: Capture


class CapturedSteps:
    """Steps of the prepared shapes are replayed, and no Python runs between their kernels; others are run eagerly.

    The ways are tried in their order. What cannot be captured, or comes out otherwise when it is replayed than it does
    as it is written, is logged, and the next way is tried; without any left all steps are run eagerly.
    """

    def __init__(self, step: Step, *, device: str, ways: Sequence[Way]) -> None:
        self._step = step
        self._device = device
        self._ways = ways
        self._eager = EagerSteps(step, device=device)
        self._graphs: dict[Shape, tuple[Tensor, Captured]] = {}

    def prepare(self, shapes: Iterable[Shape], *, idle: Sequence[int], on_progress: Callable[[float], None]) -> None:
        # The largest first: those that follow take their memory.
        ordered = sorted(shapes, reverse=True)
        for way in self._ways:
            try:
                with way.around():
                    for done, shape in enumerate(ordered):
                        self._graphs[shape] = self._capture(shape, way, idle)
                        on_progress((done + 1) / len(ordered))
                # Now that the steps are again as they are written, and nothing else is captured into the same memory.
                for shape in ordered:
                    self._check(shape)
            except Exception as error:  # whatever a compiler or a driver raises
                self._graphs.clear()
                _log.warning("decode steps cannot be %s: %s: %s", way.name, type(error).__name__, error)
            else:
                _log.info("decode steps are %s, in %d shapes", way.name, len(ordered))
                return
        _log.warning("decode steps are run one kernel after the other, which takes longer")

    @torch.inference_mode()
    def run(self, inputs: Sequence[Sequence[int]], *, context: int) -> Tensor:
        found = self._graphs.get((len(inputs[0]), context))
        if found is None:
            return self._eager.run(inputs, context=context)
        held, captured = found
        held.copy_(torch.tensor(inputs))
        captured.replay()
        return captured.output

    @torch.inference_mode()
    def _capture(self, shape: Shape, way: Way, idle: Sequence[int]) -> tuple[Tensor, Captured]:
        rows, context = shape
        inputs = torch.tensor([[value] * rows for value in idle], device=self._device)
        return inputs, way.capture(lambda: self._step(inputs, context))

    @torch.inference_mode()
    def _check(self, shape: Shape) -> None:
        rows, context = shape
        inputs, captured = self._graphs[shape]
        # Other token ids and another position than it was captured with, and a row sees what it writes.
        inputs[0] = torch.arange(1, rows + 1, device=self._device)
        inputs[1:] = 1
        expected = self._step(inputs, context).float()
        captured.replay()
        distance = ((captured.output.float() - expected).norm() / expected.norm()).item()
        # Not so of NaN either.
        if not distance < _TOLERANCE:
            raise ValueError(f"a replayed step differs by {distance:.3g}")
