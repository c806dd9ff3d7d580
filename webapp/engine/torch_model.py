"""Models that transformers reads and runs. Takes seconds to import: only what needs it imports it, when it does."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from webapp.catalog import Adapter, Precision
from webapp.engine.hardware import Hardware
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
    hardware: Hardware,
    slots: int,
    slot_length: int,
    outlier_threshold: float | None = None,
    adapters: Sequence[Adapter] = (),
) -> tuple[SlotModel, str]:
    """The model in a precision on a device, and what that precision is called: int4, int8, bf16, fp16 or fp32.

    `outlier_threshold` is how int8 is computed, as the catalogue says.
    """
    device = hardware.name
    dtype = _dtype(folder, precision, hardware)
    if precision == "int4" and device == "cpu":
        model = _read(folder, dtype=torch.bfloat16, device=device, quantization=None)
        quantise_linears(model, except_for=model.get_output_embeddings())
    else:
        quantization = _quantization(precision, dtype, outlier_threshold)
        model = _read(folder, dtype=dtype, device=device, quantization=quantization)
    # Before the layers are packed: peft looks for kinds that it knows. Those below an adapter are packed all the same.
    lora = _load_adapters(model, adapters) if adapters else None
    if precision == "int8":
        _take_over_int8(model, hardware, outlier_threshold)
    elif device == "cpu":
        pack_linears(model)
    slot_model = SlotModel(
        model,
        hardware=hardware,
        slots=slots,
        slot_length=slot_length,
        lora=lora,
        # Outliers are found by asking the device in every layer.
        is_static=not outlier_threshold,
    )
    return slot_model, _precision_name(model, precision)


def load_embedding_model(
    folder: Path, *, precision: Precision, hardware: Hardware, outlier_threshold: float | None = None
) -> tuple[PreTrainedModel, str]:
    """The model without a head, in a precision on a device, and what that precision is called."""
    dtype = _dtype(folder, precision, hardware)
    quantization = _quantization(precision, dtype, outlier_threshold)
    model = _read(folder, dtype=dtype, device=hardware.name, quantization=quantization, kind=AutoModel)
    if precision == "int8":
        _take_over_int8(model, hardware, outlier_threshold)
    return model, _precision_name(model, precision)


def _load_adapters(model: PreTrainedModel, adapters: Sequence[Adapter]) -> "Adapters":
    # peft takes two seconds to import, which a model without adapters does not need.
    from webapp.engine.adapters import load_adapters

    return load_adapters(model, adapters)


def _take_over_int8(model: PreTrainedModel, hardware: Hardware, outlier_threshold: float | None) -> None:
    # bitsandbytes need not be installed where nothing is int8.
    from webapp.engine.int8_linear import take_over_linears

    if outlier_threshold is None:
        take_over_linears(model, hardware.int8_product(model.dtype))
    elif outlier_threshold == 0:
        take_over_linears(model, None)


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


def _quantization(
    precision: Precision, dtype: torch.dtype, outlier_threshold: float | None
) -> BitsAndBytesConfig | None:
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=outlier_threshold or 0.0)
    if precision == "int4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return None


def _dtype(folder: Path, precision: Precision, hardware: Hardware) -> torch.dtype:
    if precision == "fp32":
        return torch.float32
    files = AutoConfig.from_pretrained(folder, local_files_only=True).dtype
    return hardware.full_dtype(files if isinstance(files, torch.dtype) else None)
