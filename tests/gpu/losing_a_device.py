"""A runner whose device is lost under two generations. As a program, the first CUDA device really is, for this process.

An index that is past the end is found by the kernel that uses it, after which CUDA refuses this process everything.
"""

from collections.abc import Callable

import torch

from tests.engine.driving import Drive, request
from tests.engine.tiny import tiny_runner
from tests.gpu.places import CUDA, place, prepare
from webapp.engine.model import Row
from webapp.engine.slot_model import SlotModel


def lose_in_the_middle(device: str, set_attribute: Callable[..., None]) -> None:
    """Steps until the device is lost. Raises DeviceLost."""
    decode = SlotModel.decode

    def losing(model: SlotModel, rows: list[Row]) -> torch.Tensor:
        if rows[0].position > 10:
            _lose(device)
        return decode(model, rows)

    drive = Drive(prepare(tiny_runner(hardware=place(device))))
    answers = [drive.start(request(prompt, raw=True, max_tokens=50)) for prompt in ("one", "two")]
    drive.step(3)
    assert all(answer.token_ids for answer in answers)
    set_attribute(SlotModel, "decode", losing)
    try:
        drive.finish()
    finally:
        assert all(answer.end is None for answer in answers)


def _lose(device: str) -> None:
    if device == "cpu":
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")
    torch.zeros(4, device=device)[torch.tensor([9], device=device)].sum().item()


if __name__ == "__main__":
    lose_in_the_middle(CUDA, setattr)
