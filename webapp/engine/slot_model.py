"""A transformers model over the slot cache: token ids and positions in, logits out.

Knows tensors and slots, nothing of sequences, sampling or text.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from webapp.engine.attention import ATTENTION, DecodeView, PrefillView, SlotCache, register_attention
from webapp.engine.packed_linear import PackedLinear

# Few shapes, so that each can be compiled: a batch and a context are rounded up to the next of these.
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_CONTEXTS = (256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)


@dataclass(frozen=True)
class Row:
    """One row of a decode step: the newest token id of a sequence, and its position."""

    token_id: int
    position: int


class SlotModel:
    """One model and its cache. A slot holds one sequence of at most `slot_length` tokens."""

    def __init__(self, model: PreTrainedModel, *, slots: int, slot_length: int) -> None:
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
            module.nbytes for module in model.modules() if isinstance(module, PackedLinear)
        )
        self._model = model
        model.set_attn_implementation(ATTENTION)

    @torch.inference_mode()
    def prefill(self, slot: int, token_ids: list[int], *, start: int) -> None:
        """Put the keys and values of `token_ids` into a slot, from position `start` on."""
        positions = torch.arange(start, start + len(token_ids), device=self.device)[None]
        view = PrefillView(self.cache, slot, start, len(token_ids))
        inputs = torch.tensor([token_ids], device=self.device)
        self._model.base_model(input_ids=inputs, position_ids=positions, use_cache=False, view=view)

    @torch.inference_mode()
    def decode(self, rows: list[Row | None]) -> Tensor:
        """The logits after each row's token, float32, of shape (rows, vocabulary). Row i belongs to slot i.

        What stands in the rows that are None is of no meaning.
        """
        context = self._context(max(row.position for row in rows if row) + 1)
        token_ids = torch.tensor([[row.token_id if row else 0] for row in rows], device=self.device)
        positions = torch.tensor([[row.position if row else 0] for row in rows], device=self.device)
        scratch = self.cache.scratch_position
        writes = torch.tensor([row.position if row else scratch for row in rows], device=self.device)
        view = DecodeView(self.cache, writes, context)
        out = self._model(input_ids=token_ids, position_ids=positions, use_cache=False, view=view)
        return out.logits[:, -1].float()

    def batch(self, slots: int) -> int:
        """How many rows a decode step over the first `slots` slots has."""
        return min(self.slots, next(batch for batch in (*_BATCHES, slots) if batch >= slots))

    def _context(self, positions: int) -> int:
        return min(self.slot_length, next(context for context in (*_CONTEXTS, positions) if context >= positions))
