"""A catalogue entry to a runner: weights, precision, device."""

import hashlib
import json
import logging
import os
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from webapp.catalog import ENGINE_BYTES, CatalogEntry, Precision
from webapp.engine.cpu import has_fast_bf16, physical_cores
from webapp.engine.embedding_runner import EmbeddingRunner
from webapp.engine.hardware import Hardware, hardware
from webapp.engine.model import Chunk, Model, Row
from webapp.engine.native.library import NativeLibrary, NativeUnavailable, load_library
from webapp.engine.native.model import NativeModel
from webapp.engine.native.packing import Bits, PackedModel, pack_model, read_packed, write_packed
from webapp.engine.runner import LoadProgress, Runner
from webapp.engine.slot_runner import SlotRunner
from webapp.engine.weights import ModelLoadFailed, prepare_weights
from webapp.memory import parse_memory
from webapp.settings import CudaGraphs

_log = logging.getLogger(__name__)

# Fractions of a load, by the clock of the first one, when the weights are converted.
_WEIGHTS_READY, _MODEL_READY = 0.85, 0.95
# Tokenizers that are all in their tokenizer.json. To find that out AutoTokenizer imports for nearly two seconds.
_PLAIN_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
# Raise it when what is packed changes.
_PACKED_FORMAT = 1


def load_runner(
    entry: CatalogEntry,
    *,
    cache_dir: Path,
    device: str,
    on_progress: LoadProgress,
    cuda_graphs: CudaGraphs = "compiled",
) -> Runner:
    """A runner for `entry` that has run one step. Raises ModelLoadFailed.

    `device` is "cpu", "cuda:N", or "auto": the first CUDA device where there is one, else the CPU.

    Sets the number of torch's threads for the whole process.
    """
    torch.set_num_threads(physical_cores())
    folder = prepare_weights(entry, cache_dir=cache_dir, on_progress=lambda done: on_progress(done * _WEIGHTS_READY))
    try:
        # What is compiled for a CUDA device is kept for the next start.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir / "inductor"))
        place = hardware(_resolve(device), cuda_graphs=cuda_graphs)
        runner = _load(entry, folder, cache_dir=cache_dir, place=place, on_progress=on_progress)
    except Exception as error:
        # Whatever a library raises here, the model cannot be served, and the reason is all there is to say. Clients
        # hear it too: where the weights lie is for the log.
        _log.error("%s cannot be loaded from %s", entry.name, folder)
        reason = str(error).replace(str(folder), "its folder")
        raise ModelLoadFailed(f"{entry.name} cannot be loaded: {reason}") from error
    on_progress(1.0)
    return runner


def _resolve(device: str) -> str:
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return "cuda:0" if device == "cuda" else device


def _load(entry: CatalogEntry, folder: Path, *, cache_dir: Path, place: Hardware, on_progress: LoadProgress) -> Runner:
    tokenizer = _load_tokenizer(folder)
    if entry.chat_template:
        tokenizer.chat_template = Path(entry.chat_template).expanduser().read_text("utf-8")
    if entry.task == "text-embeddings":
        return _load_embeddings(entry, folder, tokenizer, place=place)
    model, precision = _load_model(entry, folder, cache_dir=cache_dir, place=place)
    on_progress(_MODEL_READY)
    _warm_up(model)
    model.prepare(lambda done: on_progress(_MODEL_READY + done * (1 - _MODEL_READY)))
    # What loading and warming up took for a moment.
    model.free_memory()
    return SlotRunner(
        model,
        tokenizer,
        end_ids=_end_ids(folder, tokenizer),
        precision=precision,
        max_positions=_max_positions(entry, model),
    )


def _load_embeddings(
    entry: CatalogEntry, folder: Path, tokenizer: PreTrainedTokenizerFast, *, place: Hardware
) -> EmbeddingRunner:
    # As torch_model, it takes two seconds to import, which a start of the native decoder does not need.
    from webapp.engine.embedding_model import load_embedder

    embedder = load_embedder(
        folder,
        tokenizer,
        precision=entry.precision,
        hardware=place,
        outlier_threshold=entry.outlier_threshold,
    )
    return EmbeddingRunner(embedder, capacity=entry.slots)


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    is_plain = _read_json(folder / "tokenizer_config.json").get("tokenizer_class") in _PLAIN_TOKENIZERS
    kind = PreTrainedTokenizerFast if is_plain else AutoTokenizer
    tokenizer = kind.from_pretrained(folder, local_files_only=True)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise TypeError("its tokenizer has no tokenizer.json")
    return tokenizer


def _load_model(entry: CatalogEntry, folder: Path, *, cache_dir: Path, place: Hardware) -> tuple[Model, str]:
    """The fastest way this machine has of running the model, and what its precision is called."""
    slot_length = entry.context_window + entry.sequence_length
    # The native decoder knows no adapters.
    bits = None if entry.adapters else _native_bits(entry.precision, place.name)
    if bits:
        try:
            library = load_library(cache_dir, threads=physical_cores())
            packed = _packed_model(folder, library, bits=bits, cache_dir=cache_dir)
            model = NativeModel(packed, library, slots=entry.slots, slot_length=slot_length)
        except NativeUnavailable as reason:
            _log.warning("%s runs without the native decoder, several times slower: %s", entry.name, reason)
        else:
            # What is left to torch is short: a second team of threads would only wait for the first one's cores.
            torch.set_num_threads(1)
            return model, "int4" if bits == 4 else "bf16"
    # It takes two seconds to import, which a start of the native decoder does not need.
    from webapp.engine.torch_model import load_torch_model

    return load_torch_model(
        folder,
        precision=entry.precision,
        hardware=place,
        slots=entry.slots,
        slot_length=slot_length,
        outlier_threshold=entry.outlier_threshold,
        adapters=entry.adapters,
    )


def _native_bits(precision: Precision, device: str) -> Bits | None:
    """The bits of a weight in the native decoder; None where this precision or device is not its."""
    if device != "cpu":
        return None
    if precision == "full" and has_fast_bf16():
        return 16
    return 4 if precision == "int4" else None


def _packed_model(folder: Path, library: NativeLibrary, *, bits: Bits, cache_dir: Path) -> PackedModel:
    """The packed weights, from the cache where they are there. Raises NativeUnavailable."""
    path = cache_dir / "native" / f"{_identity(folder)}-{bits}.safetensors"
    # Those of 16 bits would only double what is on the disk already.
    packed = read_packed(path) if bits == 4 else None
    if packed:
        return packed
    from webapp.engine.torch_model import read_model

    packed = pack_model(read_model(folder), library, bits=bits)
    if bits == 4:
        try:
            write_packed(packed, path)
        except OSError as error:
            _log.warning("the packed weights cannot be kept in %s: %s", path, error)
    return packed


def _identity(folder: Path) -> str:
    """Changes with the folder, its weights, and what we make of them."""
    digest = hashlib.sha256(f"{_PACKED_FORMAT} {folder.resolve()}".encode())
    for path in sorted((folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.bin"))):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


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


def _end_ids(folder: Path, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """The tokens that end a text, as transformers finds them: the model's own, else its configuration's."""
    configured = _read_json(folder / "generation_config.json") or _read_json(folder / "config.json")
    ends = configured.get("eos_token_id")
    return frozenset(
        token_id
        for token_id in (*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id)
        if isinstance(token_id, int)
    )


def _read_json(path: Path) -> dict[str, object]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _warm_up(model: Model) -> None:
    """One prefill and one decode step: what the model cannot do, it cannot do now."""
    model.prefill([Chunk(0, [0, 0], 0)])
    model.decode([Row(0, 0, 2)])
