"""The static key/value cache of all slots, and the attention that reads and writes it.

Registered with transformers under ATTENTION, it takes the place of a model's own attention; the model
itself stays as it is. Knows positions and slots, nothing of token ids or of what runs in a slot.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from webapp.engine.pages import anonymous_zeros, give_back

ATTENTION = "jeton_slots"


class UnsupportedAttention(Exception):
    """The model's attention needs something that the slot cache does not do."""


class SlotCache:
    """Keys and values: for each layer two tensors of shape (slots, key/value heads, slot_length + 1, head_dim).

    The last position of a slot is scratch: rows of a batch that belong to no ready sequence write there,
    and no sequence reads it. On the CPU a position takes memory from its first use on.
    """

    def __init__(
        self, *, layers: int, slots: int, slot_length: int, heads: int, head_dim: int, dtype: torch.dtype, device: str
    ) -> None:
        shape = (slots, heads, slot_length + 1, head_dim)
        self.slot_length = slot_length
        self.scratch_position = slot_length
        self.bytes_per_position = 2 * layers * heads * head_dim * dtype.itemsize
        self._keys = [_zeros(shape, dtype, device) for _ in range(layers)]
        self._values = [_zeros(shape, dtype, device) for _ in range(layers)]

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        return self._keys[index], self._values[index]

    def copy(self, source: int, target: int, *, length: int) -> None:
        """Copy the first `length` positions of one slot to another."""
        for tensor in (*self._keys, *self._values):
            tensor[target, :, :length] = tensor[source, :, :length]

    def swap(self, one: int, other: int, *, length: int) -> None:
        """Exchange the first `length` positions of two slots."""
        for tensor in (*self._keys, *self._values):
            kept = tensor[one, :, :length].clone()
            tensor[one, :, :length] = tensor[other, :, :length]
            tensor[other, :, :length] = kept

    def forget(self, index: int, *, start: int = 0) -> None:
        """Make a slot zero from position `start` on; on the CPU its pages are given back."""
        for tensor in (*self._keys, *self._values):
            if tensor.device.type != "cpu":
                tensor[index, :, start:] = 0
                continue
            # The positions of one head stand side by side; a whole slot's heads too.
            for part in tensor[index, :, start:] if start else (tensor[index],):
                give_back(part)


@dataclass(frozen=True)
class PrefillView:
    """A chunk of one slot's prompt: `count` positions from `start` on attend to themselves and all before."""

    cache: SlotCache
    slot: int
    start: int
    count: int

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        keys, values = self.cache.layer(layer)
        end = self.start + self.count
        keys[self.slot, :, self.start : end] = key[0]
        values[self.slot, :, self.start : end] = value[0]
        seen_keys, seen_values = keys[self.slot : self.slot + 1, :, :end], values[self.slot : self.slot + 1, :, :end]
        mask = self._mask(query)
        return scaled_dot_product_attention(
            query, seen_keys, seen_values, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
        )

    def _mask(self, query: Tensor) -> Tensor | None:
        if not self.start:
            return None
        ones = torch.ones(self.count, self.start + self.count, dtype=torch.bool, device=query.device)
        return ones.tril(diagonal=self.start)


@dataclass(frozen=True)
class DecodeView:
    """One new position in each of the first slots; `positions` says where, one for each row.

    `context` is how many positions are read: more than any sequence of the batch has.
    """

    cache: SlotCache
    positions: Tensor
    context: int
    _rows: Tensor = field(init=False)
    _mask: Tensor = field(init=False)

    def __post_init__(self) -> None:
        device = self.positions.device
        seen = torch.arange(self.context, device=device) <= self.positions[:, None]
        object.__setattr__(self, "_rows", torch.arange(len(self.positions), device=device))
        object.__setattr__(self, "_mask", seen[:, None, None])

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        keys, values = self.cache.layer(layer)
        rows, heads, _, head_dim = query.shape
        keys[self._rows, :, self.positions] = key[:, :, 0]
        values[self._rows, :, self.positions] = value[:, :, 0]
        # The query heads that share a key/value head stand in the place of query positions: nothing is repeated.
        grouped = query.reshape(rows, key.shape[1], -1, head_dim)
        seen_keys, seen_values = keys[:rows, :, : self.context], values[:rows, :, : self.context]
        out = scaled_dot_product_attention(grouped, seen_keys, seen_values, attn_mask=self._mask, scale=scale)
        return out.reshape(rows, heads, 1, head_dim)


def register_attention() -> None:
    """Make ATTENTION known to transformers."""
    AttentionInterface.register(ATTENTION, _slot_attention)


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
    return view.attend(layer, query, key, value, scale).transpose(1, 2), None


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Tensor:
    if device != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # torch.zeros writes all of it. An anonymous mapping is zero too, and takes memory only where it is written.
    # It must be zero, not just empty: a masked NaN is still NaN after it is multiplied by weight 0.
    return anonymous_zeros(shape, dtype)
