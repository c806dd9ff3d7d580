"""Linear layers over 4-bit weights by torch's own kernel, where the native decoder does not know model or machine.

Blocks of 32 as the native decoder has them, w = d * q + m (GGUF's Q4_1); d and m are rounded to the layer's own
type. The kernel is fast in bf16 alone.
"""

import torch
from torch import Tensor, nn

_BLOCK = 32
_LEVELS = 16
# The kernel's tiles: it takes no other number of outputs.
_OUTPUTS = 16


class Int4Linear(nn.Module):
    """A linear layer whose weights were quantised once."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        blocks = layer.weight.detach().float().unflatten(1, (-1, _BLOCK))
        low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
        scale = ((high - low) / (_LEVELS - 1)).half().float()
        start = low.half().float()
        quants = ((blocks - start) / scale.where(scale > 0, torch.inf)).round().clamp(0, _LEVELS - 1)
        self._bias = layer.bias
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(quants.flatten(1).int(), 1)
        # The kernel counts quants from the middle.
        middle = start + scale * (_LEVELS // 2)
        self._scales = torch.cat((scale, middle), -1).transpose(0, 1).contiguous().to(layer.weight.dtype)
        self.nbytes = self._packed.nbytes + self._scales.nbytes

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self._packed, _BLOCK, self._scales)
        out = out if self._bias is None else out + self._bias
        return out.unflatten(0, inputs.shape[:-1])


def quantise_linears(model: nn.Module, *, except_for: nn.Module | None) -> None:
    """Replace every linear layer inside `model` that the kernel can do, but for one, by one of 4-bit weights."""
    linears = [(name, module) for name, module in model.named_modules() if type(module) is nn.Linear]
    for name, layer in linears:
        outputs, inputs = layer.weight.shape
        if layer is not except_for and inputs % _BLOCK == 0 and outputs % _OUTPUTS == 0:
            model.set_submodule(name, Int4Linear(layer))
