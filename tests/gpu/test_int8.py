"""A model in int8 holds its layers in 8 bits, on each device and however it computes with them."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from tests.engine.tiny import save_tiny
from tests.gpu.places import BOTH, distance, place
from webapp.engine.model import Chunk, Row
from webapp.engine.slot_model import SlotModel
from webapp.engine.torch_model import load_torch_model

_LAYERS = 2
_LINEARS = 7 * _LAYERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model nearly all of whose weights are in linear layers, in 16 bits."""
    shape = {"vocab_size": 256, "hidden_size": 256, "intermediate_size": 512, "initializer_range": 0.02}
    return save_tiny(tmp_path_factory.mktemp("weights"), dtype=torch.float16, num_hidden_layers=_LAYERS, **shape)


def load(folder: Path, device: str, **fields: object) -> SlotModel:
    model, _ = load_torch_model(folder, hardware=place(device, "off"), slots=2, slot_length=64, **fields)
    return model


def linears(model: SlotModel) -> list[nn.Module]:
    """The layers that have a matrix, but for the last one."""
    found = [module for name, module in model._model.named_modules() if name.endswith("_proj")]
    assert len(found) == _LINEARS
    return found


@pytest.mark.parametrize("threshold", [None, 0.0, 6.0], ids=["weights alone", "LLM.int8", "LLM.int8 with outliers"])
@pytest.mark.parametrize("device", BOTH)
def test_int8_is_int8_and_takes_about_half(folder: Path, device: str, threshold: float | None):
    int8 = load(folder, device, precision="int8", outlier_threshold=threshold)
    # On a processor the layers of a model in 16 bits are packed, and say nothing of their weights.
    full = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float16)
    in_16_bits = sum(parameter.nbytes for name, parameter in full.named_parameters() if "_proj" in name)

    for _ in range(2):
        int8.prefill([Chunk(0, list(range(20)), 0)])
        logits = int8.decode([Row(0, 20, 20)])
        # As it was before the first step, whatever a library does there.
        assert {layer.weight.dtype for layer in linears(int8)} == {torch.int8}
        assert {layer.weight.device.type for layer in linears(int8)} == {torch.device(device).type}
    assert sum(layer.weight.nbytes for layer in linears(int8)) * 2 == in_16_bits
    assert int8.weight_bytes < 0.6 * full.get_memory_footprint()
    assert logits.isfinite().all()


@pytest.mark.parametrize("device", BOTH)
def test_int8_computes_nearly_what_16_bits_do(folder: Path, device: str):
    models = [load(folder, device, precision=precision) for precision in ("full", "int8")]
    for model in models:
        model.prefill([Chunk(0, list(range(20)), 0)])
    full, int8 = (model.decode([Row(0, 20, 20)]) for model in models)

    assert 0 < distance(int8, full) < 0.05


@pytest.mark.gpu
def test_int8_takes_about_half_of_the_devices_memory(folder: Path):
    def allocated(**fields: object) -> int:
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        model = load(folder, "cuda:0", **fields)
        taken = torch.cuda.memory_allocated() - before
        return taken - model.cache.bytes_per_position * model.slots * (model.slot_length + 1)

    assert allocated(precision="int8") < 0.65 * allocated(precision="full")
