"""Vectors without a model: eight numbers drawn by the text itself. Needs no torch.

A text that is a script (see scripted_runner's Script) takes its `step_seconds`, so that faults can come in between.
"""

import struct
import time
import zlib
from collections.abc import Sequence

import msgspec

from webapp.catalog import CatalogEntry
from webapp.engine.embedding_runner import EmbeddingRunner, Text
from webapp.engine.scripted_runner import Script

DIMENSIONS = 8


class ScriptedEmbedder:
    """An Embedder: each word is a token."""

    precision = "scripted"
    memory_bytes = 0
    batch_tokens = 16

    def __init__(self, entry: CatalogEntry, device: str) -> None:
        self.device = device
        self.longest_text = entry.context_window

    def read(self, texts: Sequence[str]) -> list[Text]:
        return [Text(text, list(range(len(text.split())))) for text in texts]

    def embed(self, texts: Sequence[Text]) -> list[bytes]:
        time.sleep(max(_step_seconds(text.text) for text in texts))
        return [struct.pack(f"<{DIMENSIONS}f", *scripted_vector(text.text)) for text in texts]


def scripted_vector(text: str) -> list[float]:
    """The numbers, from -1 to 1."""
    return [zlib.crc32(f"{at}:{text}".encode()) / 2**31 - 1 for at in range(DIMENSIONS)]


def scripted_embeddings(entry: CatalogEntry, *, device: str) -> EmbeddingRunner:
    """A runner for an entry that makes embeddings; it says it is on `device`."""
    return EmbeddingRunner(ScriptedEmbedder(entry, device), capacity=entry.slots)


def _step_seconds(text: str) -> float:
    try:
        return msgspec.json.decode(text, type=Script).step_seconds
    except msgspec.MsgspecError:
        return 0.0
