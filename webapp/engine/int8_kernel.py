"""The product of int8 weights for a CUDA device: kernels in Triton that read 8 bits and multiply in 16 or 32.

A decode step reads every weight once for few rows, so it takes as long as its bytes do. torch's own
`_weight_int8pack_mm` has one thread for each output there, each reading a row of its own
(https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/cuda/int8mm.cu). Importing this needs Triton.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from webapp.engine.int8_product import multiply_dequantised


class Tile(NamedTuple):
    """What one block of threads computes: all rows up to `rows`, `outputs` columns, `inputs` at a time."""

    rows: int
    outputs: int
    inputs: int
    warps: int
    stages: int


# Worked out, not measured: they keep about 20 kB on the way to each multiprocessor of a large GPU, which is what the
# delay and the rate of its memory ask for, in at most half of what smaller ones have to keep it (99 kB).
ONE_ROW = Tile(rows=1, outputs=4, inputs=1024, warps=4, stages=1)
# Every block reads all rows: where they are more, it has more outputs.
TILES = (
    Tile(rows=16, outputs=32, inputs=256, warps=4, stages=4),
    Tile(rows=32, outputs=32, inputs=128, warps=4, stages=5),
    Tile(rows=64, outputs=64, inputs=128, warps=4, stages=3),
)


# Opaque to torch.compile: inductor would make of a scaled product what int8mm.cu does.
@torch.library.custom_op("jeton::int8_product", mutates_args=())
def int8_product(rows: Tensor, quants: Tensor, scales: Tensor) -> Tensor:
    """An Int8Product in float16 or bf16; for more rows than the kernels', by a copy of the weights in 16 bits."""
    count, inputs = rows.shape
    outputs = quants.shape[0]
    tile = next((tile for tile in (ONE_ROW, *TILES) if tile.rows >= count), None)
    if tile is None:
        return multiply_dequantised(rows, quants, scales)
    out = rows.new_empty(count, outputs)
    blocks = (triton.cdiv(outputs, tile.outputs),)
    tensors = (rows.contiguous(), quants, scales, out)
    constants: dict[str, Any] = {"OUTPUTS": tile.outputs, "INPUTS": tile.inputs}
    constants |= {"num_warps": tile.warps, "num_stages": tile.stages}
    # Triton runs on the current device, whichever the tensors are on.
    with torch.cuda.device_of(rows):
        if tile is ONE_ROW:
            multiply_row[blocks](*tensors, outputs, inputs, **constants)
        else:
            constants["ROWS"] = tile.rows
            multiply_rows[blocks](*tensors, count, outputs, inputs, **constants)
    return out


@int8_product.register_fake
def _(rows: Tensor, quants: Tensor, scales: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], quants.shape[0])


@triton.jit
def multiply_row(
    row,  # noqa: ANN001 - pointers and numbers of Triton's, here and below
    quants,  # noqa: ANN001
    scales,  # noqa: ANN001
    out,  # noqa: ANN001
    outputs,  # noqa: ANN001
    inputs,  # noqa: ANN001
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
) -> None:
    """One row, summed in float32: nothing is computed for rows that are not there."""
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    is_output = output < outputs
    sums = tl.zeros((OUTPUTS, INPUTS), dtype=tl.float32)
    for start in range(0, inputs, INPUTS):
        at = start + tl.arange(0, INPUTS)
        is_input = at < inputs
        left = tl.load(row + at, mask=is_input, other=0.0)
        # Each weight is read once, by one block: it need not stay in the cache.
        right = tl.load(
            quants + output[:, None] * inputs + at[None, :],
            mask=is_output[:, None] & is_input[None, :],
            other=0,
            eviction_policy="evict_first",
        )
        sums += right.to(tl.float32) * left.to(tl.float32)[None, :]
    scale = tl.load(scales + output, mask=is_output, other=0.0)
    tl.store(out + output, (tl.sum(sums, axis=1) * scale).to(out.dtype.element_ty), mask=is_output)


# Without do_not_specialize it would be compiled once more for multiples of 16.
@triton.jit(do_not_specialize=["count"])
def multiply_rows(
    rows,  # noqa: ANN001
    quants,  # noqa: ANN001
    scales,  # noqa: ANN001
    out,  # noqa: ANN001
    count,  # noqa: ANN001
    outputs,  # noqa: ANN001
    inputs,  # noqa: ANN001
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
) -> None:
    """Up to ROWS rows by tensor cores. Each is summed in the same order, however many there are."""
    row = tl.arange(0, ROWS)
    is_row = row < count
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    is_output = output < outputs
    sums = tl.zeros((ROWS, OUTPUTS), dtype=tl.float32)
    for start in range(0, inputs, INPUTS):
        at = start + tl.arange(0, INPUTS)
        is_input = at < inputs
        left = tl.load(rows + row[:, None] * inputs + at[None, :], mask=is_row[:, None] & is_input[None, :], other=0.0)
        right = tl.load(
            quants + output[:, None] * inputs + at[None, :],
            mask=is_output[:, None] & is_input[None, :],
            other=0,
            eviction_policy="evict_first",
        )
        sums = tl.dot(left, tl.trans(right.to(left.dtype)), sums)
    scale = tl.load(scales + output, mask=is_output, other=0.0)
    tl.store(
        out + row[:, None] * outputs + output[None, :],
        (sums * scale[None, :]).to(out.dtype.element_ty),
        mask=is_row[:, None] & is_output[None, :],
    )
