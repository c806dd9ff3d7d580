"""What the slot engine asks of a model: token ids in, logits out, over a cache of its own making."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from webapp.engine.slots import Cache


@dataclass(frozen=True)
class Row:
    """One row of a decode step: a slot, the newest token id of the sequence in it, its position and its adapter."""

    slot: int
    token_id: int
    position: int
    adapter: str | None = None


@dataclass(frozen=True)
class Chunk:
    """A part of a prompt: the token ids that go into a slot from position `start` on, and its sequence's adapter."""

    slot: int
    token_ids: list[int]
    start: int
    adapter: str | None = None

    @property
    def end(self) -> int:
        """The position after the last."""
        return self.start + len(self.token_ids)


class Model(Protocol):
    """One model and its cache. A slot holds one sequence of at most `slot_length` tokens."""

    device: str
    slots: int
    slot_length: int
    weight_bytes: int
    # The names of the LoRA adapters that a sequence may have.
    adapters: frozenset[str]
    # The most prompt tokens of one step, alone and while others wait for their next token.
    prefill_chunk: int
    prefill_chunk_beside_streams: int
    # What a prompt token costs more for each position before it, in tokens at the start.
    cost_of_context: float

    @property
    def cache(self) -> Cache: ...

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        """Make ready for all decode steps there will be, once, after the first of each kind has been run."""
        ...

    def prefill(self, chunks: Sequence[Chunk]) -> None:
        """Put the keys and values of all chunks, each of another slot, into the cache."""
        ...

    def decode(self, rows: list[Row]) -> Tensor:
        """The logits after each row's token, float32, of shape (rows, vocabulary)."""
        ...

    def batch(self, slots: int) -> int:
        """How many rows a decode step over the first `slots` slots has; a constant where that does not matter."""
        ...

    def memory_bytes(self, held: int) -> int:
        """Memory of weights and cache on the device, where `held` positions are in use."""
        ...

    def free_memory(self) -> None:
        """Give back what is kept for later."""
        ...
