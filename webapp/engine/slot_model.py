"""A transformers model over the slot cache: token ids and positions in, logits out.

Knows tensors and slots, nothing of sequences, sampling or text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PreTrainedModel

from webapp.engine.attention import ATTENTION, DecodeView, PrefillView, SlotCache, register_attention
from webapp.engine.int4_linear import Int4Linear
from webapp.engine.model import Row
from webapp.engine.packed_linear import PackedLinear

if TYPE_CHECKING:
    from webapp.engine.adapters import Adapters

# Few shapes, so that each can be compiled: a batch and a context are rounded up to the next of these.
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_CONTEXTS = (256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)
# The most prompt tokens of one step: more would make running streams stall, and an abort wait. On 2 cores the
# starter model in bf16 reads 512 tokens in 0.64 s at once, in 0.72 s as two chunks, in 0.9 s as four of 0.25 s each.
_CHUNK_ON_CUDA = 512
_CHUNK_ON_CPU = 256
_CHUNK_BESIDE_STREAMS_ON_CPU = 128


class SlotModel:
    """One model and its cache. A slot holds one sequence of at most `slot_length` tokens. `lora` are its adapters."""

    def __init__(self, model: PreTrainedModel, *, slots: int, slot_length: int, lora: "Adapters | None" = None) -> None:
        register_attention()
        config = model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.device = str(model.device)
        self.slots = slots
        self.slot_length = min(slot_length, getattr(config, "max_position_embeddings", None) or slot_length)
        self.cache = SlotCache(
            layers=config.num_hidden_layers,
            slots=slots,
            slot_length=self.slot_length,
            heads=heads,
            head_dim=head_dim,
            dtype=model.dtype,
            device=self.device,
        )
        self.weight_bytes = model.get_memory_footprint() + sum(
            module.nbytes for module in model.modules() if isinstance(module, PackedLinear | Int4Linear)
        )
        is_cpu = self.device == "cpu"
        self.prefill_chunk = _CHUNK_ON_CPU if is_cpu else _CHUNK_ON_CUDA
        self.prefill_chunk_beside_streams = _CHUNK_BESIDE_STREAMS_ON_CPU if is_cpu else _CHUNK_ON_CUDA
        # Small beside the rest, in the contexts of the models that run here.
        self.cost_of_context = 0.0
        self.adapters = lora.names if lora else frozenset()
        self._model = model
        self._lora = lora
        model.set_attn_implementation(ATTENTION)

    @torch.inference_mode()
    def prefill(self, slot: int, token_ids: list[int], *, start: int, adapter: str | None = None) -> None:
        """Put the keys and values of `token_ids` into a slot, from position `start` on."""
        self._choose_adapters([adapter])
        positions = torch.arange(start, start + len(token_ids), device=self.device)[None]
        view = PrefillView(self.cache, slot, start, len(token_ids))
        inputs = torch.tensor([token_ids], device=self.device)
        self._model.base_model(input_ids=inputs, position_ids=positions, use_cache=False, view=view)

    @torch.inference_mode()
    def decode(self, rows: list[Row]) -> Tensor:
        """The logits after each row's token, float32, of shape (rows, vocabulary)."""
        slots = [row.slot for row in rows]
        batch = self.batch(max(slots) + 1)
        # What stands in the rows of the batch that nobody asked for is of no meaning.
        token_ids, positions, writes = [0] * batch, [0] * batch, [self.cache.scratch_position] * batch
        adapters: list[str | None] = [None] * batch
        for row in rows:
            token_ids[row.slot], positions[row.slot], writes[row.slot] = row.token_id, row.position, row.position
            adapters[row.slot] = row.adapter
        self._choose_adapters(adapters)
        view = DecodeView(self.cache, torch.tensor(writes, device=self.device), self._context(max(positions) + 1))
        out = self._model(
            input_ids=torch.tensor(token_ids, device=self.device)[:, None],
            position_ids=torch.tensor(positions, device=self.device)[:, None],
            use_cache=False,
            view=view,
        )
        return out.logits[slots, -1].float()

    def batch(self, slots: int) -> int:
        """How many rows a decode step over the first `slots` slots has."""
        return min(self.slots, next(batch for batch in (*_BATCHES, slots) if batch >= slots))

    def _choose_adapters(self, rows: Sequence[str | None]) -> None:
        if self._lora:
            self._lora.choose(rows)

    def _context(self, positions: int) -> int:
        return min(self.slot_length, next(context for context in (*_CONTEXTS, positions) if context >= positions))
