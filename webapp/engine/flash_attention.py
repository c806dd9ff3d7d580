"""Flash attention over the slot cache, as torch brings it along: each row reads what it has, and no more.

By torch.nn.attention.varlen: sequences of different lengths one after the other, said by where each begins
(https://docs.pytorch.org/docs/stable/nn.attention.varlen.html). The cache is such a row of sequences, one a slot, of
which the first positions count. Knows positions and slots, nothing of token ids.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate

import torch
from torch import Tensor

from webapp.engine.attention import Attend, Attention, HeadShape, SdpaAttention, Span

_log = logging.getLogger(__name__)

_MODULE = "torch.nn.attention.varlen"
# What older versions of it do not take: those of torch 2.11 and before.
_NEEDED = {"seqused_k", "window_size", "enable_gqa", "scale"}
_NEEDED_BY_OPERATOR = {"seqused_k", "window_size_left", "window_size_right", "scale"}
# Each sees what is before it, up to its own place; both ends are aligned at the last position.
_CAUSAL = (-1, 0)
# In 16 bits two ways of computing the same differ by less; one position too few or too many of 300 is 0.06.
_TOLERANCE = 0.02

Varlen = Callable[..., Tensor]


class FlashAttention:
    """Attention by torch's varlen_attn, or what computes the same."""

    reads_all = False

    def __init__(self, varlen: Varlen) -> None:
        self._varlen = varlen

    def over_spans(self, spans: Sequence[Span], *, device: torch.device) -> Attend:
        counts = [span.count for span in spans]
        query_ends = torch.tensor([0, *accumulate(counts)], dtype=torch.int32, device=device)
        slots = torch.tensor([span.slot for span in spans] + [0], dtype=torch.int32, device=device)
        used = torch.tensor([span.end for span in spans], dtype=torch.int32, device=device)
        most, longest = max(counts), max(span.end for span in spans)

        def attend(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
            out = self._varlen(
                query[0].transpose(0, 1),
                keys.flatten(0, 1),
                values.flatten(0, 1),
                query_ends,
                slots * keys.shape[1],
                most,
                longest,
                scale=scale,
                window_size=_CAUSAL,
                enable_gqa=True,
                seqused_k=used,
            )
            return out.transpose(0, 1)[None]

        return attend

    def over_rows(self, positions: Tensor, *, context: int) -> Attend:
        rows = torch.arange(len(positions) + 1, dtype=torch.int32, device=positions.device)
        used = (positions + 1).int()

        def attend(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
            out = self._varlen(
                query[:, :, 0],
                keys.flatten(0, 1),
                values.flatten(0, 1),
                rows,
                rows * keys.shape[1],
                1,
                context,
                scale=scale,
                enable_gqa=True,
                seqused_k=used,
            )
            return out[:, :, None]

        return attend


def find_flash_attention(heads: HeadShape, *, device: str) -> Attention:
    """Flash attention where this torch has it and this device computes the same with it; else SDPA, with a log line."""
    varlen = find_varlen()
    if varlen is None:
        _log.info("attention by SDPA: this torch has no flash attention that reads a cache")
        return SdpaAttention()
    flash = FlashAttention(varlen)
    try:
        distance = _distance(flash, heads, device=device)
    except Exception as error:  # whatever a kernel raises on a device, a head size or a type that it does not know
        _log.warning("attention by SDPA: flash attention does not run here: %s", error)
        return SdpaAttention()
    # Not so of NaN either.
    if not distance < _TOLERANCE:
        _log.warning("attention by SDPA: flash attention differs from it by %.3g", distance)
        return SdpaAttention()
    return flash


def find_varlen() -> Varlen | None:
    """torch's varlen_attn where it can read a cache, else what it calls, where that can."""
    varlen = getattr(import_module(_MODULE), "varlen_attn", None) if find_spec(_MODULE) else None
    if varlen and inspect.signature(varlen).parameters.keys() >= _NEEDED:
        return varlen
    taken = {argument.name for argument in torch.ops.aten._flash_attention_forward.default._schema.arguments}
    return varlen_by_operator if taken >= _NEEDED_BY_OPERATOR else None


def varlen_by_operator(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    most: int,
    longest: int,
    *,
    scale: float,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
) -> Tensor:
    """As varlen_attn, by the operator behind it, which has taken `seqused_k` for longer; it groups heads unasked."""
    out, *_ = torch.ops.aten._flash_attention_forward(
        query,
        keys,
        values,
        query_ends,
        key_ends,
        most,
        longest,
        0.0,
        window_size == _CAUSAL,
        False,
        scale=scale,
        window_size_left=window_size[0],
        window_size_right=window_size[1],
        seqused_k=seqused_k,
    )
    return out


@torch.inference_mode()
def _distance(flash: FlashAttention, heads: HeadShape, *, device: str) -> float:
    """By how much of its length what a position gets differs from SDPA's, at most: of three rows and two prompts."""
    generator = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).to(heads.dtype)

    positions, scale = torch.tensor([4, 0, 299], device=device), heads.head_dim**-0.5
    spans = [Span(2, 100, 50), Span(0, 0, 20)]
    row_query, span_query = random(3, heads.query, 1, heads.head_dim), random(1, heads.query, 70, heads.head_dim)
    keys, values = (random(3, 301, heads.key_value, heads.head_dim) for _ in range(2))

    def outcome(attention: Attention) -> Tensor:
        over_rows = attention.over_rows(positions, context=300)
        over_spans = attention.over_spans(spans, device=positions.device)
        rows = over_rows(row_query, keys, values, scale)[:, :, 0]
        prompts = over_spans(span_query, keys, values, scale)[0].transpose(0, 1)
        return torch.cat((rows, prompts)).flatten(1).float()

    wanted = outcome(SdpaAttention())
    return ((outcome(flash) - wanted).norm(dim=1) / wanted.norm(dim=1)).max().item()
