"""A catalogue entry to a runner: weights, precision, device."""

import logging
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from webapp.catalog import CatalogEntry, Precision
from webapp.engine.cpu import has_fast_bf16, physical_cores
from webapp.engine.packed_linear import pack_linears
from webapp.engine.runner import LoadProgress, Runner
from webapp.engine.slot_model import Row, SlotModel
from webapp.engine.slot_runner import SlotRunner
from webapp.engine.weights import ModelLoadFailed, prepare_weights

# Fractions of a load, by the clock of the first one, when the weights are converted.
_WEIGHTS_READY, _MODEL_READY = 0.85, 0.95
_PRECISION_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


def load_runner(entry: CatalogEntry, *, cache_dir: Path, device: str, on_progress: LoadProgress) -> Runner:
    """A runner for `entry` that has run one step. Raises ModelLoadFailed.

    `device` is "cpu", "cuda:N", or "auto": the first CUDA device where there is one, else the CPU.

    Sets the number of torch's threads for the whole process.
    """
    torch.set_num_threads(physical_cores())
    disable_progress_bar()
    folder = prepare_weights(entry, cache_dir=cache_dir, on_progress=lambda done: on_progress(done * _WEIGHTS_READY))
    try:
        runner = _load(entry, folder, device=_resolve(device), on_progress=on_progress)
    except Exception as error:
        # Whatever a library raises here, the model cannot be served, and the reason is all there is to say.
        raise ModelLoadFailed(f"{entry.name} cannot be loaded from {folder}: {error}") from error
    on_progress(1.0)
    return runner


def _resolve(device: str) -> str:
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return "cuda:0" if device == "cuda" else device


def _load(entry: CatalogEntry, folder: Path, *, device: str, on_progress: LoadProgress) -> Runner:
    dtype = _dtype(entry.precision, device)
    is_int8 = entry.precision == "int8"
    model = _load_model(folder, dtype=dtype, device=device, is_int8=is_int8)
    on_progress(_MODEL_READY)
    if device == "cpu" and not is_int8:
        pack_linears(model)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise TypeError("its tokenizer has no tokenizer.json")
    slot_model = SlotModel(model, slots=entry.slots, slot_length=entry.context_window + entry.sequence_length)
    _warm_up(slot_model)
    precision = "int8" if is_int8 else _PRECISION_NAMES[dtype]
    return SlotRunner(slot_model, tokenizer, end_ids=_end_ids(model, tokenizer), precision=precision)


def _load_model(folder: Path, *, dtype: torch.dtype, device: str, is_int8: bool) -> PreTrainedModel:
    # Its warning about casts would be logged in every layer of every step.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        device_map=device,
        quantization_config=BitsAndBytesConfig(load_in_8bit=True) if is_int8 else None,
        local_files_only=True,
    ).eval()


def _dtype(precision: Precision, device: str) -> torch.dtype:
    if precision == "fp32":
        return torch.float32
    if device == "cpu":
        return torch.bfloat16 if has_fast_bf16() else torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(token_id for token_id in (*ends, tokenizer.eos_token_id) if isinstance(token_id, int))


def _warm_up(model: SlotModel) -> None:
    """One prefill and one decode step: what the model cannot do, it cannot do now."""
    model.prefill(0, [0, 0], start=0)
    model.decode([Row(0, 2)])
