"""The static key/value cache of all slots, and how a model's attention reads and writes it.

Registered with transformers under ATTENTION, it takes the place of a model's own attention; the model
itself stays as it is. Knows positions and slots, nothing of token ids or of what runs in a slot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from webapp.engine.attention import Attend, HeadShape, Span
from webapp.engine.hardware import Hardware

ATTENTION = "jeton_slots"


class UnsupportedAttention(Exception):
    """The model's attention needs something that the slot cache does not do."""


class SlotCache:
    """Keys and values: for each layer two tensors of shape (slots, slot_length + 1, key/value heads, head_dim).

    The last position of a slot is scratch: rows of a batch that belong to no ready sequence write there,
    and no sequence reads it. On the CPU a position takes memory from its first use on.
    """

    def __init__(self, heads: HeadShape, *, layers: int, slots: int, slot_length: int, hardware: Hardware) -> None:
        shape = (slots, slot_length + 1, heads.key_value, heads.head_dim)
        self.slot_length = slot_length
        self.scratch_position = slot_length
        self.bytes_per_position = 2 * layers * heads.key_value * heads.head_dim * heads.dtype.itemsize
        self._hardware = hardware
        # Zeros, not just empty: a masked NaN is still NaN after it is multiplied by weight 0.
        self._keys = [hardware.zeros(shape, heads.dtype) for _ in range(layers)]
        self._values = [hardware.zeros(shape, heads.dtype) for _ in range(layers)]

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        return self._keys[index], self._values[index]

    def copy(self, source: int, target: int, *, length: int) -> None:
        """Copy the first `length` positions of one slot to another."""
        for tensor in (*self._keys, *self._values):
            tensor[target, :length] = tensor[source, :length]

    def swap(self, one: int, other: int, *, length: int) -> None:
        """Exchange the first `length` positions of two slots."""
        for tensor in (*self._keys, *self._values):
            kept = tensor[one, :length].clone()
            tensor[one, :length] = tensor[other, :length]
            tensor[other, :length] = kept

    def forget(self, index: int, *, start: int = 0) -> None:
        """Make a slot zero from position `start` on; on the CPU its pages are given back."""
        for tensor in (*self._keys, *self._values):
            self._hardware.give_back(tensor[index, start:])


@dataclass(frozen=True)
class PrefillView:
    """Parts of prompts, one after the other: the positions of each span attend to themselves and all before."""

    cache: SlotCache
    spans: Sequence[Span]
    attend: Attend

    def update(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        keys, values = self.cache.layer(layer)
        first = 0
        for span in self.spans:
            last = first + span.count
            keys[span.slot, span.start : span.end] = key[0, :, first:last].transpose(0, 1)
            values[span.slot, span.start : span.end] = value[0, :, first:last].transpose(0, 1)
            first = last
        return self.attend(query, keys, values, scale)


@dataclass(frozen=True)
class DecodeView:
    """One new position in each of the first slots; `writes` says where its keys and values go, one for each row."""

    cache: SlotCache
    rows: Tensor
    writes: Tensor
    attend: Attend

    def update(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        keys, values = self.cache.layer(layer)
        keys[self.rows, self.writes] = key[:, :, 0]
        values[self.rows, self.writes] = value[:, :, 0]
        count = len(self.rows)
        return self.attend(query, keys[:count], values[:count], scale)


def register_attention() -> None:
    """Make ATTENTION known to transformers."""
    AttentionInterface.register(ATTENTION, _slot_attention)


# A tensor that is written in place, by an index, is no work for a compiler, and layers differ here alone.
@torch.compiler.disable
def _slot_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    view: PrefillView | DecodeView,
    scaling: float | None = None,
    **features: Any,  # noqa: ANN401 - whatever a model hands its attention
) -> tuple[Tensor, None]:
    window = features.get("sliding_window")
    if (window and window < view.cache.slot_length) or features.get("softcap") or features.get("s_aux") is not None:
        raise UnsupportedAttention(f"{type(module).__name__} uses a sliding window, soft-capped scores or sinks")
    layer: Any = module.layer_idx
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return view.update(layer, query, key, value, scale).transpose(1, 2), None
