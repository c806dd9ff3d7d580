"""How fast all cores together read memory: the limit of one stream, whose every token reads all weights once."""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers.lines import Lines

# Far more than any cache holds.
_BYTES = 1 << 30
_REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    lines = Lines()
    torch.set_num_threads(parser.parse_args().threads)

    def answer(_: dict[str, Any]) -> dict[str, Any]:
        return {"ways": {name: _rate(read) for name, read in _ways().items()}}

    lines.serve(answer, hello={})


def _ways() -> dict[str, Callable[[], object]]:
    floats = torch.ones(_BYTES // 4)
    integers = torch.ones(_BYTES // 8, dtype=torch.int64)
    # As a decode step reads weights: a matrix times one vector.
    matrix = torch.ones(_BYTES // 2 // 4096, 4096, dtype=torch.bfloat16)
    vector = torch.ones(4096, dtype=torch.bfloat16)
    return {
        "sum of float32": floats.sum,
        "largest of float32": floats.max,
        "sum of int64": integers.sum,
        "largest of int64": integers.max,
        "bf16 matrix times vector": lambda: torch.mv(matrix, vector),
    }


def _rate(read: Callable[[], object]) -> float:
    """Bytes a second, the best of some repeats."""
    best = float("inf")
    for _ in range(_REPEATS):
        started_at = time.perf_counter()
        read()
        best = min(best, time.perf_counter() - started_at)
    return _BYTES / best


if __name__ == "__main__":
    main()
