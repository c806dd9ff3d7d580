"""Run with TRITON_INTERPRET=1: says how far the int8 kernels are from the exact product, for each shape.

A program of its own, because Triton decides at its import whether it compiles or interprets. In float16: of bf16 the
interpreter multiplies the bare bits.
"""

import json

import torch

from webapp.engine.int8_kernel import int8_product

# Rows on both sides of each tile's border; outputs and inputs that fill tiles, that do not, and that are less than one.
_SHAPES = [
    *((rows, 96, 576) for rows in (1, 2, 16, 17, 32, 33, 64, 65)),
    *((rows, outputs, inputs) for rows in (1, 5, 40, 50) for outputs, inputs in ((33, 1000), (1, 16), (70, 1025))),
]


def main() -> None:
    print(json.dumps({f"{shape}": _distance(*shape) for shape in _SHAPES}))


def _distance(count: int, outputs: int, inputs: int) -> float:
    random = torch.Generator().manual_seed(count + outputs + inputs)
    rows = torch.randn(count, inputs, generator=random).half()
    quants = torch.randint(-127, 128, (outputs, inputs), generator=random, dtype=torch.int8)
    scales = torch.rand(outputs, generator=random) / 1000
    found = int8_product(rows, quants, scales)
    assert (found.dtype, found.shape) == (torch.float16, (count, outputs))
    expected = rows.double() @ quants.double().T * scales
    return ((found - expected).norm() / expected.norm()).item()


if __name__ == "__main__":
    main()
