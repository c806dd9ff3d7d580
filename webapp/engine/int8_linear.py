"""Linear layers over bitsandbytes' int8 weights. bitsandbytes makes the weights; these layers multiply with them.

It takes each row of a matrix as quants from -127 to 127 and the row's largest absolute value. Importing it needs
bitsandbytes, and takes seconds.
"""

import torch
from bitsandbytes.nn.modules import Int8Params, Linear8bitLt
from torch import Tensor, nn

from webapp.engine.int8_product import Int8Product

_LARGEST_QUANT = 127


class Int8Linear(nn.Module):
    """Weights of 8 bits, and inputs as they are: what a row becomes does not depend on the rows beside it."""

    weight: Tensor
    scales: Tensor

    def __init__(self, layer: Linear8bitLt, product: Int8Product) -> None:
        super().__init__()
        quants, largest = _numbers(layer)
        # Buffers, so that they are counted as the model's memory.
        self.register_buffer("weight", quants)
        self.register_buffer("scales", largest / _LARGEST_QUANT)
        self.bias = layer.bias
        self._product = product

    def forward(self, inputs: Tensor) -> Tensor:
        out = self._product(inputs.reshape(-1, inputs.shape[-1]), self.weight, self.scales)
        out = out if self.bias is None else out + self.bias
        return out.view(*inputs.shape[:-1], -1)


class LlmInt8Linear(nn.Module):
    """Weights of 8 bits, and each row of the inputs rounded to 8 bits: LLM.int8 (arXiv 2208.07339) without outliers.

    By bitsandbytes' own operations, which compute in float16. Other than its layer they ask the device for nothing
    meanwhile, so that they can be captured.
    """

    weight: Tensor
    largest: Tensor

    def __init__(self, layer: Linear8bitLt) -> None:
        super().__init__()
        quants, largest = _numbers(layer)
        self.register_buffer("weight", quants)
        self.register_buffer("largest", largest)
        self.bias = layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1]).to(torch.float16)
        quants, largest, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(rows)
        out = torch.ops.bitsandbytes.int8_scaled_mm(
            quants, self.weight, largest, self.largest, bias=self.bias, dtype=inputs.dtype
        )
        return out.view(*inputs.shape[:-1], -1)


def take_over_linears(model: nn.Module, product: Int8Product | None) -> None:
    """Replace every layer of bitsandbytes inside `model` by one of ours: with a product, else LLM.int8."""
    # peft's layer of this name is another class, and has one of bitsandbytes inside.
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, Linear8bitLt)]
    for name, layer in layers:
        model.set_submodule(name, Int8Linear(layer, product) if product else LlmInt8Linear(layer))


def _numbers(layer: Linear8bitLt) -> tuple[Tensor, Tensor]:
    """Quants (outputs, inputs), and each output's largest weight. They change hands at the layer's first step."""
    assert isinstance(layer.weight, Int8Params)
    largest = layer.weight.SCB if layer.state.SCB is None else layer.state.SCB
    assert largest is not None
    return layer.weight.data, largest.float()
