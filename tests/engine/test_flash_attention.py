"""Flash attention over the cache: what it asks of torch's varlen_attn, and when it is not used."""

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.engine.test_decode_steps import _texts
from tests.engine.tiny import tiny_runner
from webapp.engine import flash_attention
from webapp.engine.attention import Attention, HeadShape, SdpaAttention, Span
from webapp.engine.flash_attention import FlashAttention, find_flash_attention, find_varlen, varlen_by_operator
from webapp.engine.hardware import Processor

_HEADS = HeadShape(query=4, key_value=2, head_dim=8, dtype=torch.float32)


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
) -> Tensor:
    """What torch says varlen_attn computes, sequence by sequence: it runs on CUDA alone."""
    assert {cu_seq_q.dtype, cu_seq_k.dtype} == {torch.int32}
    assert seqused_k is None or seqused_k.dtype == torch.int32
    assert key.is_contiguous() and value.is_contiguous() and query.stride(-1) == 1
    assert enable_gqa
    out = torch.empty_like(query)
    for at in range(len(cu_seq_q) - 1):
        first, last = cu_seq_q[at : at + 2].tolist()
        start, end = cu_seq_k[at : at + 2].tolist()
        end = end if seqused_k is None else start + int(seqused_k[at])
        assert last - first <= max_q and end - start <= max_k
        times = query.shape[1] // key.shape[1]
        keys, values = (part[start:end].repeat_interleave(times, dim=1).transpose(0, 1) for part in (key, value))
        scores = query[first:last].transpose(0, 1) @ keys.transpose(1, 2) * scale
        if window_size == (-1, 0):
            # Aligned at the last position of both.
            is_seen = torch.ones(last - first, end - start, dtype=torch.bool).tril(end - start - (last - first))
            scores = scores.masked_fill(~is_seen, -torch.inf)
        out[first:last] = (scores.softmax(-1) @ values).transpose(0, 1)
    return out


class FlashProcessor(Processor):
    def attention(self, heads: HeadShape) -> Attention:
        return FlashAttention(varlen)


def test_texts_are_those_of_the_plain_attention():
    assert _texts(tiny_runner(hardware=FlashProcessor())) == _texts(tiny_runner())


def test_what_computes_the_same_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flash_attention, "find_varlen", lambda: varlen)

    assert isinstance(find_flash_attention(_HEADS, device="cpu"), FlashAttention)


def _raising(*_: object, **__: object) -> Tensor:
    raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")


def _one_too_few(*arguments: Tensor, seqused_k: Tensor | None = None, **named: object) -> Tensor:
    return varlen(*arguments, seqused_k=None if seqused_k is None else seqused_k.clamp_max(299), **named)


def _not_a_number(*arguments: Tensor, **named: object) -> Tensor:
    return varlen(*arguments, **named) * float("nan")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "this torch has no flash attention"),
        (_raising, "only supports Ampere"),
        (_one_too_few, "differs from it by"),
        (_not_a_number, "differs from it by nan"),
    ],
    ids=["none", "raising", "one-too-few", "not-a-number"],
)
def test_what_does_not_run_or_computes_something_else_is_not_used(
    found: Callable[..., Tensor] | None,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(flash_attention, "find_varlen", lambda: found)

    with caplog.at_level(logging.INFO):
        attention = find_flash_attention(_HEADS, device="cpu")

    assert isinstance(attention, SdpaAttention)
    assert reason in caplog.text


def test_this_torchs_own_takes_what_is_asked_of_it():
    assert find_varlen() is torch.nn.attention.varlen.varlen_attn


def test_where_varlen_attn_reads_no_cache_the_operator_behind_it_does(monkeypatch: pytest.MonkeyPatch):
    def of_torch_2_11(query: Tensor, key: Tensor, value: Tensor, *, scale: float, window_size: tuple[int, int]) -> None:
        raise AssertionError

    monkeypatch.setattr(torch.nn.attention.varlen, "varlen_attn", of_torch_2_11)
    found = find_varlen()
    assert found is varlen_by_operator

    # Without numbers, which only CUDA computes: that it takes what it is given.
    attention, keys = FlashAttention(found), torch.empty(3, 301, 2, 8, dtype=torch.float16, device="meta")
    device = torch.device("meta")
    rows = attention.over_rows(torch.empty(3, dtype=torch.int64, device=device), context=300)
    prompts = attention.over_spans([Span(2, 100, 50), Span(0, 0, 20)], device=device)
    row_query, prompt_query = (keys.new_empty(shape) for shape in ((3, 4, 1, 8), (1, 4, 70, 8)))
    assert rows(row_query, keys, keys, 0.5).shape == row_query.shape
    assert prompts(prompt_query, keys, keys, 0.5).shape == prompt_query.shape
