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

from webapp.catalog import ENGINE_BYTES, CatalogEntry, Precision
from webapp.engine.cpu import has_fast_bf16, physical_cores
from webapp.engine.int4_linear import quantise_linears
from webapp.engine.model import Model
from webapp.engine.native.library import NativeUnavailable, load_library
from webapp.engine.native.model import NativeModel
from webapp.engine.packed_linear import pack_linears
from webapp.engine.runner import LoadProgress, Runner
from webapp.engine.slot_model import Row, SlotModel
from webapp.engine.slot_runner import SlotRunner
from webapp.engine.weights import ModelLoadFailed, prepare_weights
from webapp.memory import parse_memory

_log = logging.getLogger(__name__)

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
        runner = _load(entry, folder, cache_dir=cache_dir, device=_resolve(device), on_progress=on_progress)
    except Exception as error:
        # Whatever a library raises here, the model cannot be served, and the reason is all there is to say.
        raise ModelLoadFailed(f"{entry.name} cannot be loaded from {folder}: {error}") from error
    on_progress(1.0)
    return runner


def _resolve(device: str) -> str:
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return "cuda:0" if device == "cuda" else device


def _load(entry: CatalogEntry, folder: Path, *, cache_dir: Path, device: str, on_progress: LoadProgress) -> Runner:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise TypeError("its tokenizer has no tokenizer.json")
    model = _read_model(folder, precision=entry.precision, device=device)
    end_ids = _end_ids(model, tokenizer)
    precision = _precision_name(entry.precision, model)
    on_progress(_MODEL_READY)
    slot_model = (
        _model_on_processor(entry, model, cache_dir=cache_dir)
        if device == "cpu"
        else SlotModel(model, slots=entry.slots, slot_length=_slot_length(entry))
    )
    _warm_up(slot_model)
    return SlotRunner(
        slot_model,
        tokenizer,
        end_ids=end_ids,
        precision=precision,
        max_positions=_max_positions(entry, slot_model),
    )


def _read_model(folder: Path, *, precision: Precision, device: str) -> PreTrainedModel:
    # Its warning about casts would be logged in every layer of every step.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # On the CPU 4-bit blocks are made here, of what the file has; elsewhere bitsandbytes makes them.
    is_as_stored = precision == "int4" and device == "cpu"
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype="auto" if is_as_stored else _dtype(precision, device),
        device_map=device,
        quantization_config=None if is_as_stored else _quantization(precision),
        local_files_only=True,
    ).eval()


def _quantization(precision: Precision) -> BitsAndBytesConfig | None:
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    if precision == "int4":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=_dtype(precision, "cuda")
        )
    return None


def _model_on_processor(entry: CatalogEntry, model: PreTrainedModel, *, cache_dir: Path) -> NativeModel | SlotModel:
    """The fastest way this machine has of running these weights on its processor."""
    slot_length = _slot_length(entry)
    bits = 4 if entry.precision == "int4" else 16
    if entry.precision == "int4" or (model.dtype == torch.bfloat16 and entry.precision == "full"):
        try:
            library = load_library(cache_dir, threads=physical_cores())
            native = NativeModel(model, library, bits=bits, slots=entry.slots, slot_length=slot_length)
        except NativeUnavailable as reason:
            _log.warning("%s runs without the native decoder, many times slower: %s", entry.name, reason)
        else:
            # What is left to torch is short: a second team of threads would only wait for the first one's cores.
            torch.set_num_threads(1)
            return native
    if entry.precision == "int4":
        model = model.bfloat16()
        quantise_linears(model, except_for=model.get_output_embeddings())
    if entry.precision != "int8":
        pack_linears(model)
    return SlotModel(model, slots=entry.slots, slot_length=slot_length)


def _max_positions(entry: CatalogEntry, model: Model) -> int | None:
    """What the memory that the entry states leaves for keys and values; None where all of the cache may fill."""
    # Elsewhere the whole cache is taken at once.
    if entry.memory is None or model.device != "cpu":
        return None
    left = parse_memory(entry.memory) - ENGINE_BYTES - model.weight_bytes
    positions = left // model.cache.bytes_per_position
    if positions < model.slot_length:
        raise ValueError(f"of its {entry.memory} of memory nothing is left for a generation of full length")
    return positions


def _slot_length(entry: CatalogEntry) -> int:
    return entry.context_window + entry.sequence_length


def _precision_name(precision: Precision, model: PreTrainedModel) -> str:
    return precision if precision in ("int4", "int8") else _PRECISION_NAMES[model.dtype]


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


def _warm_up(model: SlotModel | NativeModel) -> None:
    """One prefill and one decode step: what the model cannot do, it cannot do now."""
    model.prefill(0, [0, 0], start=0)
    model.decode([Row(0, 0, 2)])
