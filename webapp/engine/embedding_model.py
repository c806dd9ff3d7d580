"""Sentence models that transformers reads: texts to vectors, pooled as the model's own files say.

The files are those of sentence-transformers (modules.json and a folder for each module). Takes seconds to import.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from webapp.catalog import Precision
from webapp.engine.decoding import is_out_of_memory, raise_if_lost
from webapp.engine.embedding_runner import Text
from webapp.engine.errors import EngineError, OutOfMemory
from webapp.engine.hardware import Hardware
from webapp.engine.torch_model import load_embedding_model

# On 2 cores MiniLM embeds so many in a tenth of a second, a model ten times its size in one.
_BATCH_TOKENS_ON_CPU = 1024
_BATCH_TOKENS_ON_CUDA = 16384

# The hidden states of a batch, and 1 where a text has a token, to one vector for each text.
Pooling = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SentenceFiles:
    """What a model's files say of how its texts are read and its vectors made."""

    pooling: str
    is_normalised: bool
    longest_text: int | None
    is_lower_case: bool
    # Stands before every text.
    prompt: str


class TorchEmbedder:
    """An Embedder over one transformers model."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        files: SentenceFiles,
        *,
        precision: str,
        hardware: Hardware,
    ) -> None:
        self.device = hardware.name
        self.precision = precision
        self.batch_tokens = _BATCH_TOKENS_ON_CPU if self.device == "cpu" else _BATCH_TOKENS_ON_CUDA
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        bounds = (files.longest_text, positions, tokenizer.model_max_length)
        self.longest_text = min(bound for bound in bounds if bound)
        self._model = model
        self._tokenizer = tokenizer
        self._files = files
        self._pooling = _POOLINGS[files.pooling]
        self._hardware = hardware
        self._weight_bytes = model.get_memory_footprint()

    @property
    def memory_bytes(self) -> int:
        return self._hardware.memory_bytes(self._weight_bytes)

    def read(self, texts: Sequence[str]) -> list[Text]:
        given = [self._files.prompt + text for text in texts]
        if self._files.is_lower_case:
            given = [text.lower() for text in given]
        encoded = self._tokenizer(given, padding=False, truncation=False, verbose=False)["input_ids"]
        return [Text(text, token_ids) for text, token_ids in zip(texts, encoded, strict=True)]

    def embed(self, texts: Sequence[Text]) -> list[bytes]:
        try:
            vectors = self._compute(texts)
        except Exception as error:
            raise_if_lost(error)
            if is_out_of_memory(error):
                raise OutOfMemory("The engine ran out of memory.") from error
            raise
        if not vectors.isfinite().all():
            raise EngineError("The model's numbers are not finite.")
        return [vector.tobytes() for vector in vectors.cpu().numpy().astype(np.dtype("<f4"))]

    @torch.inference_mode()
    def _compute(self, texts: Sequence[Text]) -> Tensor:
        longest = max(len(text.token_ids) for text in texts)
        padding = self._tokenizer.pad_token_id or 0
        ids = [text.token_ids + [padding] * (longest - len(text.token_ids)) for text in texts]
        masks = [[1] * len(text.token_ids) + [0] * (longest - len(text.token_ids)) for text in texts]
        mask = torch.tensor(masks, device=self.device)
        states = self._model(input_ids=torch.tensor(ids, device=self.device), attention_mask=mask)[0].float()
        vectors = self._pooling(states, mask[:, :, None])
        return normalize(vectors, dim=-1) if self._files.is_normalised else vectors


def load_embedder(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    *,
    precision: Precision,
    hardware: Hardware,
    outlier_threshold: float | None = None,
) -> TorchEmbedder:
    """The model in a precision on a device, which has embedded one text. Raises ValueError for what is not known."""
    files = read_sentence_files(folder)
    model, name = load_embedding_model(
        folder, precision=precision, hardware=hardware, outlier_threshold=outlier_threshold
    )
    embedder = TorchEmbedder(model, tokenizer, files, precision=name, hardware=hardware)
    embedder.embed(embedder.read(["Hi"]))
    return embedder


def read_sentence_files(folder: Path) -> SentenceFiles:
    """What the files say; of a model that has none, what sentence-transformers does then. Raises ValueError."""
    modules = _read(folder / "modules.json") or []
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    unknown = set(kinds) - {"Transformer", "Pooling", "Normalize"}
    if unknown:
        raise ValueError(f"its module {unknown.pop()} is not supported; Transformer, Pooling and Normalize are")
    folders = {kind: folder / module["path"] for kind, module in zip(kinds, modules, strict=True)}
    settings = _read(folder / "sentence_bert_config.json") or {}
    sentence = _read(folder / "config_sentence_transformers.json") or {}
    return SentenceFiles(
        pooling=_pooling_name(_read(folders["Pooling"] / "config.json") or {}) if "Pooling" in folders else "mean",
        is_normalised="Normalize" in folders,
        longest_text=settings.get("max_seq_length"),
        is_lower_case=bool(settings.get("do_lower_case")),
        prompt=(sentence.get("prompts") or {}).get(sentence.get("default_prompt_name"), ""),
    )


def _pooling_name(config: dict[str, Any]) -> str:
    named = config.get("pooling_mode")
    names = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
    wanted = [named] if named else [names.get(key, key) for key, value in config.items() if _is_mode(key) and value]
    if len(wanted) != 1 or wanted[0] not in _POOLINGS:
        raise ValueError(f"its pooling {' and '.join(map(str, wanted)) or 'without a mode'} is not supported")
    return wanted[0]


def _is_mode(key: str) -> bool:
    return key.startswith("pooling_mode_")


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask).sum(1) / mask.sum(1)


def _first(states: Tensor, mask: Tensor) -> Tensor:
    return states[:, 0]


def _highest(states: Tensor, mask: Tensor) -> Tensor:
    return states.masked_fill(mask == 0, -torch.inf).amax(1)


_POOLINGS: dict[str, Pooling] = {"mean": _mean, "cls": _first, "max": _highest}


def _read(path: Path) -> Any:  # noqa: ANN401 - JSON of somebody else's making
    return json.loads(path.read_text("utf-8")) if path.is_file() else None
