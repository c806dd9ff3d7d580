"""Models that transformers reads and runs. Takes seconds to import: only what needs it imports it, when it does."""

import logging
from pathlib import Path
from typing import Literal

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from webapp.catalog import Precision
from webapp.engine.cpu import has_fast_bf16
from webapp.engine.int4_linear import quantise_linears
from webapp.engine.packed_linear import pack_linears
from webapp.engine.slot_model import SlotModel

_PRECISION_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


def read_model(folder: Path) -> PreTrainedModel:
    """The model as its files have it, in memory of the CPU."""
    return _read(folder, dtype="auto", device="cpu", quantization=None)


def load_torch_model(
    folder: Path, *, precision: Precision, device: str, slots: int, slot_length: int
) -> tuple[SlotModel, str]:
    """The model in a precision on a device, and what that precision is called: int4, int8, bf16, fp16 or fp32."""
    dtype = _dtype(precision, device)
    if precision == "int4" and device == "cpu":
        model = _read(folder, dtype=torch.bfloat16, device=device, quantization=None)
        quantise_linears(model, except_for=model.get_output_embeddings())
    else:
        model = _read(folder, dtype=dtype, device=device, quantization=_quantization(precision, dtype))
    if device == "cpu" and precision != "int8":
        pack_linears(model)
    name = precision if precision in ("int4", "int8") else _PRECISION_NAMES[model.dtype]
    return SlotModel(model, slots=slots, slot_length=slot_length), name


def _read(
    folder: Path, *, dtype: torch.dtype | Literal["auto"], device: str, quantization: BitsAndBytesConfig | None
) -> PreTrainedModel:
    disable_progress_bar()
    # Its warning about casts would be logged in every layer of every step.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return AutoModelForCausalLM.from_pretrained(
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
