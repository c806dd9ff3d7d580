"""The kernels of int8 for a GPU, on a machine without one: interpreted, and compiled for several."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from webapp.engine.int8_kernel import ONE_ROW, TILES, Tile, multiply_row, multiply_rows

# What one block may have on a GPU of the kinds between the two.
_SHARED_BYTES = 99 * 1024
# Divisible by 16, so that many bytes are read at once.
_ALIGNED = [["tt.divisibility", 16]]


def test_the_kernels_compute_the_exact_product_but_for_rounding():
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.interpreted_int8"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    distances = json.loads(done.stdout)

    # float16 has 11 bits.
    assert len(distances) == 20
    assert max(distances.values()) < 2**-11


@pytest.mark.parametrize("tile", [ONE_ROW, *TILES], ids=lambda tile: f"{tile.rows} rows")
@pytest.mark.parametrize(("architecture", "dtype"), [(80, "bf16"), (90, "fp16")])
def test_each_kernel_compiles_for_gpus_of_several_kinds(
    architecture: int, dtype: str, tile: Tile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Nothing out of the cache of an earlier run.
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    compiled = compile_kernel(
        _source(tile, dtype),
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": tile.warps, "num_stages": tile.stages},
    )

    assert compiled.asm["cubin"]
    assert compiled.metadata.shared <= _SHARED_BYTES
    if tile is not ONE_ROW:
        # By tensor cores, and the next weights are on their way meanwhile.
        assert "mma" in compiled.asm["ptx"]
        assert "cp.async" in compiled.asm["ptx"]


def _source(tile: Tile, dtype: str) -> ASTSource:
    kernel = multiply_row if tile is ONE_ROW else multiply_rows
    kinds = {"quants": "*i8", "scales": "*fp32", "count": "i32", "outputs": "i32", "inputs": "i32"}
    constants = {"ROWS": tile.rows, "OUTPUTS": tile.outputs, "INPUTS": tile.inputs}
    names = kernel.arg_names
    return ASTSource(
        kernel,
        {name: "constexpr" if name in constants else kinds.get(name, f"*{dtype}") for name in names},
        constexprs={name: value for name, value in constants.items() if name in names},
        attrs={(at,): _ALIGNED for at, name in enumerate(names) if name not in constants and name != "count"},
    )
