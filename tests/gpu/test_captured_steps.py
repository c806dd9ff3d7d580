"""Decode steps that were captured give what steps give that are run, for every number of rows."""

import pytest
import torch

from tests.engine.driving import Drive, request
from tests.engine.test_decode_steps import CapturingProcessor, traced
from tests.engine.tiny import tiny_runner
from tests.gpu.places import CUDA, TOLERANCES, distance, model_of, place, prepare
from webapp.engine.decode_steps import CapturedSteps
from webapp.engine.hardware import Hardware
from webapp.engine.model import Chunk, Row
from webapp.settings import CudaGraphs

# The processor's tracer takes a while for each number of rows.
_SLOTS = {"cpu": 4, CUDA: 8}
_WAYS = [
    pytest.param("cpu", "plain", id="cpu"),
    pytest.param(CUDA, "plain", id="cuda-plain", marks=pytest.mark.gpu),
    pytest.param(CUDA, "compiled", id="cuda-compiled", marks=pytest.mark.gpu),
]
_DTYPES = [
    torch.float32,
    pytest.param(torch.float16, marks=pytest.mark.gpu),
    pytest.param(torch.bfloat16, marks=pytest.mark.gpu),
]
_PROMPTS = [list(range(7 * at, 7 * at + 20 + 9 * at)) for at in range(8)]


def capturing(device: str, graphs: CudaGraphs) -> Hardware:
    """A device whose decode steps are captured; those of the processor by a tracer of operations."""
    return CapturingProcessor(traced) if device == "cpu" else place(device, graphs)


@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize(("device", "graphs"), _WAYS)
def test_logits_are_the_same_for_every_number_of_rows(device: str, graphs: CudaGraphs, dtype: torch.dtype):
    slots = _SLOTS[device]
    captured = prepare(tiny_runner(slots=slots, hardware=capturing(device, graphs), dtype=dtype))
    run = tiny_runner(slots=slots, hardware=place(device, "off"), dtype=dtype)
    steps = model_of(captured)._steps
    assert isinstance(steps, CapturedSteps)
    assert {rows for rows, _ in steps._graphs} == {1, 2, 4, slots}

    for runner in (captured, run):
        model_of(runner).prefill([Chunk(slot, prompt, 0) for slot, prompt in enumerate(_PROMPTS[:slots])])
    for count in (*range(1, slots + 1), 1):
        rows = [Row(slot, 65 + count, len(prompt)) for slot, prompt in enumerate(_PROMPTS[:count])]
        found, expected = (model_of(runner).decode(rows).clone() for runner in (captured, run))
        assert found.isfinite().all()
        assert distance(found, expected) < TOLERANCES[dtype], count


@pytest.mark.parametrize(("device", "graphs"), _WAYS)
def test_texts_are_the_same_in_fp32(device: str, graphs: CudaGraphs):
    def texts(hardware: Hardware) -> list[tuple[int, ...]]:
        drive = Drive(prepare(tiny_runner(slots=_SLOTS[device], hardware=hardware)))
        answers = []
        for at in range(2 * drive.runner.capacity):
            fields = {"temperature": at % 3 / 2, "max_tokens": 5 + 3 * at, "frequency_penalty": at % 2 / 2}
            while len(drive.runner.leases) == drive.runner.capacity:
                drive.step()
            answers.append(drive.start(request(f"{at} " * (3 * at + 1), raw=True, seed=at, **fields)))
            drive.step()
        drive.finish()
        return [answer.token_ids for answer in answers]

    assert texts(capturing(device, graphs)) == texts(place(device, "off"))
