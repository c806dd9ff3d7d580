"""Models that transformers reads and runs. Takes seconds to import: only what needs it imports it, when it does."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from transformers import AutoModel, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from webapp.catalog import Adapter, Precision
from webapp.engine.cpu import has_fast_bf16
from webapp.engine.int4_linear import quantise_linears
from webapp.engine.packed_linear import pack_linears
from webapp.engine.slot_model import SlotModel

if TYPE_CHECKING:
    from webapp.engine.adapters import Adapters

_PRECISION_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


def read_model(folder: Path) -> PreTrainedModel:
    """The model as its files have it, in memory of the CPU."""
    return _read(folder, dtype="auto", device="cpu", quantization=None)


def load_torch_model(
    folder: Path,
    *,
    precision: Precision,
    device: str,
    slots: int,
    slot_length: int,
    adapters: Sequence[Adapter] = (),
) -> tuple[SlotModel, str]:
    """The model in a precision on a device, and what that precision is called: int4, int8, bf16, fp16 or fp32."""
    dtype = _dtype(precision, device)
    if precision == "int4" and device == "cpu":
        model = _read(folder, dtype=torch.bfloat16, device=device, quantization=None)
        quantise_linears(model, except_for=model.get_output_embeddings())
    else:
        model = _read(folder, dtype=dtype, device=device, quantization=_quantization(precision, dtype))
    # Before the layers are packed: peft looks for kinds that it knows. Those below an adapter are packed all the same.
    lora = _load_adapters(model, adapters) if adapters else None
    if device == "cpu" and precision != "int8":
        pack_linears(model)
    return SlotModel(model, slots=slots, slot_length=slot_length, lora=lora), _precision_name(model, precision)


def load_embedding_model(folder: Path, *, precision: Precision, device: str) -> tuple[PreTrainedModel, str]:
    """The model without a head, in a precision on a device, and what that precision is called."""
    dtype = _dtype(precision, device)
    quantization = _quantization(precision, dtype)
    model = _read(folder, dtype=dtype, device=device, quantization=quantization, kind=AutoModel)
    return model, _precision_name(model, precision)


def _load_adapters(model: PreTrainedModel, adapters: Sequence[Adapter]) -> "Adapters":
    # peft takes two seconds to import, which a model without adapters does not need.
    from webapp.engine.adapters import load_adapters

    return load_adapters(model, adapters)


def _precision_name(model: PreTrainedModel, precision: Precision) -> str:
    return precision if precision in ("int4", "int8") else _PRECISION_NAMES[model.dtype]


def _read(
    folder: Path,
    *,
    dtype: torch.dtype | Literal["auto"],
    device: str,
    quantization: BitsAndBytesConfig | None,
    kind: type[AutoModel] | type[AutoModelForCausalLM] = AutoModelForCausalLM,
) -> PreTrainedModel:
    disable_progress_bar()
    # Its warning about casts would be logged in every layer of every step.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return kind.from_pretrained(
        folder, dtype=dtype, device_map=device, quantization_config=quantization, local_files_only=True
    ).eval()


def _quantization(precision: Precision, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    if precision == "int4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return None


def _dtype(precision: Precision, device: str) -> torch.dtype:
    if precision == "fp32":
        return torch.float32
    if device == "cpu":
        return torch.bfloat16 if has_fast_bf16() else torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
