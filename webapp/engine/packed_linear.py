"""bf16 linear layers with their weights in the order the processor's kernels read them.

On a CPU this takes a third off every decode step. The numbers are the same, only their place in memory changes.
"""

import torch
from torch import Tensor, nn

# What peft calls the two small layers of an adapter. It looks at their weights.
_ADAPTER_LAYERS = {"lora_A", "lora_B"}


class PackedLinear(nn.Module):
    """A linear layer over a weight that was reordered once."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._bias = linear.bias
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self.nbytes = linear.weight.nbytes

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")


def pack_linears(model: nn.Module) -> None:
    """Replace every bf16 linear layer inside `model` by a packed one, where the processor has the kernels."""
    if not torch.backends.mkldnn.is_available():
        return
    linears = [(name, module) for name, module in model.named_modules() if type(module) is nn.Linear]
    for name, linear in linears:
        if linear.weight.dtype == torch.bfloat16 and _ADAPTER_LAYERS.isdisjoint(name.split(".")):
            model.set_submodule(name, PackedLinear(linear))
