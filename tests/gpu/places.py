"""Where the body of a test runs: on the processor in every run, and the same on a CUDA device where there is one."""

import pytest
import torch

from webapp.engine.hardware import Hardware, Processor, hardware
from webapp.engine.slot_model import SlotModel
from webapp.engine.slot_runner import SlotRunner
from webapp.settings import CudaGraphs

CUDA = "cuda:0"
# Devices, for bodies that run on both.
BOTH = ["cpu", pytest.param(CUDA, marks=pytest.mark.gpu)]
# By how much of their length numbers may differ that were computed in another order.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.03}


def place(device: str, graphs: CudaGraphs = "plain") -> Hardware:
    """The device of this name; graphs are of CUDA devices alone."""
    return Processor() if device == "cpu" else hardware(device, cuda_graphs=graphs)


def model_of(runner: SlotRunner) -> SlotModel:
    assert isinstance(runner._model, SlotModel)
    return runner._model


def prepare(runner: SlotRunner) -> SlotRunner:
    """Its decode steps captured, as after a load."""
    model_of(runner).prepare(lambda done: None)
    return runner


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """By how much of its length the row that differs most differs."""
    found, expected = found.flatten(1).float(), expected.flatten(1).float()
    return ((found - expected).norm(dim=1) / expected.norm(dim=1)).max().item()
