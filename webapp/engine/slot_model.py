"""A transformers model over the slot cache: token ids and positions in, logits out.

Knows tensors and slots, nothing of sequences, sampling or text.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PreTrainedModel

from webapp.engine.attention import HeadShape, Span
from webapp.engine.decode_steps import DecodeSteps, EagerSteps
from webapp.engine.hardware import Hardware
from webapp.engine.int4_linear import Int4Linear
from webapp.engine.model import Chunk, Row
from webapp.engine.packed_linear import PackedLinear
from webapp.engine.slot_cache import ATTENTION, DecodeView, PrefillView, SlotCache, register_attention

if TYPE_CHECKING:
    from webapp.engine.adapters import Adapters

# Few shapes, so that each can be captured: a batch and a context are rounded up to the next of these.
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_CONTEXTS = (256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)


class SlotModel:
    """One model and its cache. A slot holds one sequence of at most `slot_length` tokens. `lora` are its adapters."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        hardware: Hardware,
        slots: int,
        slot_length: int,
        lora: "Adapters | None" = None,
        is_static: bool = True,
    ) -> None:
        """`is_static`: its layers do the same whatever the numbers are, and wait for none of them."""
        register_attention()
        config = model.config.get_text_config()
        heads = _heads(model)
        self.device = hardware.name
        self.slots = slots
        self.slot_length = min(slot_length, getattr(config, "max_position_embeddings", None) or slot_length)
        self.cache = SlotCache(
            heads, layers=config.num_hidden_layers, slots=slots, slot_length=self.slot_length, hardware=hardware
        )
        self.weight_bytes = model.get_memory_footprint() + sum(
            module.nbytes for module in model.modules() if isinstance(module, PackedLinear | Int4Linear)
        )
        self.prefill_chunk = hardware.prefill_chunk
        self.prefill_chunk_beside_streams = hardware.prefill_chunk_beside_streams
        # Small beside the rest, in the contexts of the models that run here.
        self.cost_of_context = 0.0
        self.adapters = lora.names if lora else frozenset()
        self._model = model
        self._lora = lora
        self._hardware = hardware
        self._attention = hardware.attention(heads)
        self._steps = self._decode_steps(is_static=is_static)
        model.set_attn_implementation(ATTENTION)

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        """Make ready for decode steps of all shapes there are; what is not prepared is run more slowly."""
        contexts = {self._context(at) for at in range(1, self.slot_length + 1)}
        shapes = [(rows, context) for rows in {self.batch(at + 1) for at in range(self.slots)} for context in contexts]
        self._steps.prepare(shapes, idle=(0, 0, self.cache.scratch_position), on_progress=on_progress)

    @torch.inference_mode()
    def prefill(self, chunks: Sequence[Chunk]) -> None:
        """Put the keys and values of all chunks, each of another slot, into the cache."""
        # One pass is one row, and a row has one adapter.
        for adapter in dict.fromkeys(chunk.adapter for chunk in chunks):
            self._choose_adapters([adapter])
            self._prefill([chunk for chunk in chunks if chunk.adapter == adapter])

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
        # Before the step: to bring it to a device waits for all that runs there.
        asked = torch.tensor(slots, device=self.device)
        logits = self._steps.run((token_ids, positions, writes), context=self._context(max(positions) + 1))
        return logits[asked].float()

    def batch(self, slots: int) -> int:
        """How many rows a decode step over the first `slots` slots has."""
        return min(self.slots, next(batch for batch in (*_BATCHES, slots) if batch >= slots))

    def memory_bytes(self, held: int) -> int:
        """Memory of weights and cache, of which `held` positions are in use."""
        return self._hardware.memory_bytes(self.weight_bytes + held * self.cache.bytes_per_position)

    def free_memory(self) -> None:
        """Give back what is kept for later."""
        self._hardware.free_memory()

    def _prefill(self, chunks: list[Chunk]) -> None:
        token_ids = [token_id for chunk in chunks for token_id in chunk.token_ids]
        positions = [position for chunk in chunks for position in range(chunk.start, chunk.end)]
        inputs = torch.tensor((token_ids, positions), device=self.device)
        spans = [Span(chunk.slot, chunk.start, len(chunk.token_ids)) for chunk in chunks]
        view = PrefillView(self.cache, spans, self._attention.over_spans(spans, device=inputs.device))
        self._model.base_model(input_ids=inputs[:1], position_ids=inputs[1:], use_cache=False, view=view)

    def _step(self, inputs: Tensor, context: int) -> Tensor:
        """Nothing but `inputs` and the cache decides what it computes: it may be captured, and replayed with others."""
        token_ids, positions, writes = inputs
        rows = torch.arange(len(writes), device=inputs.device)
        view = DecodeView(self.cache, rows, writes, self._attention.over_rows(positions, context=context))
        out = self._model(input_ids=token_ids[:, None], position_ids=positions[:, None], use_cache=False, view=view)
        return out.logits[:, -1]

    def _decode_steps(self, *, is_static: bool) -> DecodeSteps:
        # Which rows have an adapter is said in Python, for every step.
        if self._lora or not is_static:
            return EagerSteps(self._step, device=self.device)
        layers = getattr(self._model.base_model, "layers", ())
        return self._hardware.decode_steps(self._step, layers=list(layers))

    def _choose_adapters(self, rows: Sequence[str | None]) -> None:
        if self._lora:
            self._lora.choose(rows)

    def _context(self, positions: int) -> int:
        if not self._attention.reads_all:
            return self.slot_length
        return min(self.slot_length, next(context for context in (*_CONTEXTS, positions) if context >= positions))


def _heads(model: PreTrainedModel) -> HeadShape:
    config = model.config.get_text_config()
    return HeadShape(
        query=config.num_attention_heads,
        key_value=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        dtype=model.dtype,
    )
