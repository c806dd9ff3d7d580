"""Ways to compute attention over what a cache holds. Knows tensors and positions, nothing of slots or layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

# query, keys, values, scale to what is seen; the shapes are said where one is made.
Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class HeadShape:
    """How many heads of which size, and the type of their numbers."""

    query: int
    key_value: int
    head_dim: int
    dtype: torch.dtype


@dataclass(frozen=True)
class Span:
    """So many positions of a slot, from `start` on."""

    slot: int
    start: int
    count: int

    @property
    def end(self) -> int:
        """The position after the last."""
        return self.start + self.count


class Attention(Protocol):
    """A way to compute attention over the cache. `reads_all`: of a context all is read, however short the rows are."""

    reads_all: bool

    def over_spans(self, spans: Sequence[Span], *, device: torch.device) -> Attend:
        """For the positions of all spans, one after the other, each of which sees itself and all before in its slot.

        query (1, heads, positions, head_dim), keys and values (slots, slot_length + 1, key/value heads, head_dim), the
        result as the query.
        """
        ...

    def over_rows(self, positions: Tensor, *, context: int) -> Attend:
        """For one position of each row, which sees itself and all before; `context` is more than any of `positions`.

        query (rows, heads, 1, head_dim), keys and values (rows, slot_length + 1, key/value heads, head_dim), the
        result as the query. What is computed depends on tensors alone: a CUDA graph may hold it.
        """
        ...


class SdpaAttention:
    """torch's scaled_dot_product_attention with a mask."""

    reads_all = True

    def over_spans(self, spans: Sequence[Span], *, device: torch.device) -> Attend:
        masks = [_causal_mask(span, device) for span in spans]
        counts = [span.count for span in spans]

        def attend(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
            out = [
                scaled_dot_product_attention(
                    part,
                    keys[span.slot : span.slot + 1, : span.end].transpose(1, 2),
                    values[span.slot : span.slot + 1, : span.end].transpose(1, 2),
                    attn_mask=mask,
                    is_causal=mask is None,
                    scale=scale,
                    enable_gqa=True,
                )
                for part, span, mask in zip(query.split(counts, dim=2), spans, masks, strict=True)
            ]
            return out[0] if len(out) == 1 else torch.cat(out, dim=2)

        return attend

    def over_rows(self, positions: Tensor, *, context: int) -> Attend:
        seen = torch.arange(context, device=positions.device) <= positions[:, None]
        mask = seen[:, None, None]

        def attend(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
            # The query heads that share a key/value head stand in the place of query positions: nothing is repeated.
            grouped = query.reshape(query.shape[0], keys.shape[2], -1, query.shape[-1])
            out = scaled_dot_product_attention(
                grouped,
                keys[:, :context].transpose(1, 2),
                values[:, :context].transpose(1, 2),
                attn_mask=mask,
                scale=scale,
            )
            return out.reshape(query.shape)

        return attend


def _causal_mask(span: Span, device: torch.device) -> Tensor | None:
    """None where the span is all there is: then torch knows the mask."""
    if not span.start:
        return None
    return torch.ones(span.count, span.end, dtype=torch.bool, device=device).tril(diagonal=span.start)
