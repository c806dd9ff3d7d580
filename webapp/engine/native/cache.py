"""The keys and values of all slots as the native decoder has them. Knows positions and slots, nothing of tokens."""

import torch

from webapp.engine.pages import anonymous_zeros, give_back

# Positions whose keys lie together (LANES in decoder.cpp).
GROUP = 16


class NativeCache:
    """float16; for each layer keys of shape (slots, key/value heads, groups, head_dim, 16), where position p is
    [p // 16, :, p % 16], and values of shape (slots, key/value heads, positions, head_dim).

    A position takes memory from its first use on.
    """

    def __init__(self, *, layers: int, slots: int, slot_length: int, heads: int, head_dim: int) -> None:
        self.slot_length = -(-slot_length // GROUP) * GROUP
        self.bytes_per_position = 2 * layers * heads * head_dim * torch.half.itemsize
        keys, values = (self.slot_length // GROUP, head_dim, GROUP), (self.slot_length, head_dim)
        self.keys = [anonymous_zeros((slots, heads, *keys), torch.half) for _ in range(layers)]
        self.values = [anonymous_zeros((slots, heads, *values), torch.half) for _ in range(layers)]

    def copy(self, source: int, target: int, *, length: int) -> None:
        """Copy the first `length` positions of one slot to another; it may be some more."""
        groups = -(-length // GROUP)
        for keys, values in zip(self.keys, self.values, strict=True):
            keys[target, :, :groups] = keys[source, :, :groups]
            values[target, :, :length] = values[source, :, :length]

    def swap(self, one: int, other: int, *, length: int) -> None:
        """Exchange the first `length` positions of two slots; it may be some more."""
        groups = -(-length // GROUP)
        for tensors, end in ((self.keys, groups), (self.values, length)):
            for tensor in tensors:
                kept = tensor[one, :, :end].clone()
                tensor[one, :, :end] = tensor[other, :, :end]
                tensor[other, :, :end] = kept

    def forget(self, index: int, *, start: int = 0) -> None:
        """Give back the memory of a slot from position `start` on; some of it may stay."""
        groups = -(-start // GROUP)
        for keys, values in zip(self.keys, self.values, strict=True):
            for head_keys, head_values in zip(keys[index], values[index], strict=True):
                give_back(head_keys[groups:])
                give_back(head_values[start:])
