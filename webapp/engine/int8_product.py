"""Rows times weights of 8 bits: `rows @ (scales * quants).T`, computed in the rows' own type.

Each way here computes with the same numbers; only where it rounds differs. Knows tensors, nothing of layers.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn.functional import linear

_log = logging.getLogger(__name__)

# Rows (count, inputs), quants (outputs, inputs) in int8 and scales (outputs) in float32, to (count, outputs).
Int8Product = Callable[[Tensor, Tensor, Tensor], Tensor]

# With the starter's shapes torch's kernel is ahead of the other way up to 4 rows (24 ms of processor time beside 41),
# even at 8, and behind at 16 (72 beside 52). It is kept to as many rows as the shipped models have slots: a row has the
# same bits alone and among others then. Those of the other way differ, and texts would change with the load.
_FEW_ROWS = 16
# Some for each of the kernel's sizes, and more than those. Outputs and inputs are multiples of 16, as those of models
# are, for which it is compiled otherwise; they fill no tile.
_TRIED_ROWS = (1, 9, 17, 40, 65)
_TRIED_OUTPUTS, _TRIED_INPUTS = 80, 1200
# In 16 bits two ways of computing the same differ by less.
_TOLERANCE = 0.01


def multiply_on_processor(rows: Tensor, quants: Tensor, scales: Tensor) -> Tensor:
    """For few rows by torch's kernel, which reads 8 bits; for many at the speed of 16 bits."""
    scales = scales.to(rows.dtype)
    if rows.shape[0] <= _FEW_ROWS:
        return torch.ops.aten._weight_int8pack_mm(rows, quants, scales)
    # int8 is exact in bf16 and float32, so only the product has to be scaled.
    return linear(rows, quants.to(rows.dtype)) * scales


def multiply_dequantised(rows: Tensor, quants: Tensor, scales: Tensor) -> Tensor:
    """By a copy of the weights in the rows' type: for many rows on a GPU, where it costs little beside the product."""
    # Scaled before the product, whose sums would else be too large for float16; by `out` in one kernel.
    return linear(rows, torch.mul(quants, scales[:, None], out=rows.new_empty(quants.shape)))


def find_int8_product(device: str, dtype: torch.dtype) -> Int8Product:
    """The fastest way there is on a CUDA device; the kernel counts only where it runs, and computes what it should."""
    try:
        if not find_spec("triton"):
            raise ModuleNotFoundError("Triton, which CUDA builds of torch bring along, is not installed")
        product = import_module("webapp.engine.int8_kernel").int8_product
        _try(product, device=device, dtype=dtype)
    except Exception as error:  # whatever a compiler or a driver raises
        _log.warning("int8 reads its weights as 16 bits, which is slower than the model in 16 bits: %s", error)
        return multiply_dequantised
    return product


def _try(product: Int8Product, *, device: str, dtype: torch.dtype) -> None:
    # Numbers of neither side repeat within a tile.
    numbers = torch.arange(_TRIED_OUTPUTS * _TRIED_INPUTS, device=device) * 7919 % 255 - 127
    quants = numbers.to(torch.int8).view(_TRIED_OUTPUTS, _TRIED_INPUTS)
    scales = torch.linspace(1e-5, 1e-3, _TRIED_OUTPUTS, device=device)
    for count in _TRIED_ROWS:
        rows = torch.arange(count * _TRIED_INPUTS, device=device).sin().to(dtype).view(count, _TRIED_INPUTS)
        expected = (rows.float() @ quants.float().T) * scales
        distance = ((product(rows, quants, scales) - expected).norm() / expected.norm()).item()
        # Not so of NaN either.
        if not distance < _TOLERANCE:
            raise ValueError(f"its kernel is wrong by {distance:.2g} for {count} rows")
