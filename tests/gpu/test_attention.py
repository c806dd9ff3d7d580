"""Flash attention and SDPA agree, for the heads that models have, wherever a row or a chunk stands."""

import pytest
import torch

from tests.engine.test_flash_attention import varlen
from tests.gpu.places import CUDA, TOLERANCES, distance
from webapp.engine.attention import Attend, Attention, HeadShape, SdpaAttention, Span
from webapp.engine.flash_attention import FlashAttention, find_flash_attention, find_varlen

_CONTEXT = 300
# Query heads, key/value heads and their size: Llama 2 7B, Llama 3 8B, the starter.
_HEADS = [(32, 32, 128), (32, 8, 128), (9, 3, 64)]
_PLACES = [
    pytest.param("cpu", torch.float32, id="cpu"),
    pytest.param(CUDA, torch.float16, id="cuda-fp16", marks=pytest.mark.gpu),
    pytest.param(CUDA, torch.bfloat16, id="cuda-bf16", marks=pytest.mark.gpu),
]


def flash_attention(heads: HeadShape, device: str) -> Attention:
    """The device's own; on the processor what torch says it computes."""
    if device == "cpu":
        return FlashAttention(varlen)
    if find_varlen() is None or torch.cuda.get_device_capability(device) < (8, 0):
        pytest.skip("this torch, or this device, has no flash attention that reads a cache")
    found = find_flash_attention(heads, device=device)
    assert isinstance(found, FlashAttention)
    return found


@pytest.mark.parametrize("shape", _HEADS, ids=str)
@pytest.mark.parametrize(("device", "dtype"), _PLACES)
def test_flash_attention_agrees_with_sdpa(device: str, dtype: torch.dtype, shape: tuple[int, int, int]):
    heads = HeadShape(*shape, dtype=dtype)
    generator = torch.Generator(device).manual_seed(1)

    def random(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, generator=generator, device=device).to(dtype)

    positions = torch.tensor([0, 1, 17, 63, 64, 128, _CONTEXT - 1], device=device)
    spans = [Span(3, 0, 1), Span(0, 0, 70), Span(6, 200, 33), Span(1, 299, 1)]
    count = sum(span.count for span in spans)
    keys, values = (random(7, _CONTEXT + 1, heads.key_value, heads.head_dim) for _ in range(2))
    rows, prompts = random(7, heads.query, 1, heads.head_dim), random(1, heads.query, count, heads.head_dim)

    def outcome(attend: Attend, query: torch.Tensor) -> torch.Tensor:
        return attend(query, keys, values, heads.head_dim**-0.5).permute(0, 2, 1, 3).flatten(0, 1)

    flash, plain = flash_attention(heads, device), SdpaAttention()
    found = outcome(flash.over_rows(positions, context=_CONTEXT), rows)
    assert distance(found, outcome(plain.over_rows(positions, context=_CONTEXT), rows)) < TOLERANCES[dtype]
    found = outcome(flash.over_spans(spans, device=positions.device), prompts)
    assert distance(found, outcome(plain.over_spans(spans, device=positions.device), prompts)) < TOLERANCES[dtype]
