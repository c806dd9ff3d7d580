"""What the first visible CUDA device is, and how fast it reads its own memory. Without one, the same of the processor.

Each answer measures anew; nothing stays on the device in between.
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from benchmarks.peers.lines import Lines

# Far more than any cache holds: 60 MB in the second level of an H200.
_BYTES_ON_CUDA = 4 << 30
_BYTES_ON_CPU = 1 << 28
_REPEATS = 10
# What `transformers serve` imports.
_SERVE_LIBRARIES = ("fastapi", "uvicorn", "openai", "pydantic")


def main() -> None:
    lines = Lines()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    lines.serve(lambda _: {"ways": _ways(device)}, hello=_facts(device))


def _facts(device: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "is_cuda": device != "cpu",
        "torch_cuda": torch.version.cuda,
        "has_flash_attention": is_flash_attn_2_available() or is_flash_attn_3_available(),
        "missing_for_serve": [name for name in _SERVE_LIBRARIES if find_spec(name) is None],
        "missing_for_int8": [] if find_spec("bitsandbytes") else ["bitsandbytes"],
        # The 16 bits of the weights' files, which the engine keeps: those of Llama-2's; processors are slow in them.
        "dtype": "bfloat16" if device == "cpu" else "float16",
    }
    if device == "cpu":
        return facts
    properties = torch.cuda.get_device_properties(device)
    return facts | {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "uuid": str(getattr(properties, "uuid", "")),
    }


def _ways(device: str) -> dict[str, float]:
    size = _BYTES_ON_CPU
    if device != "cpu":
        # A quarter of what is free: a copy needs two, and a small card must do.
        size = min(_BYTES_ON_CUDA, torch.cuda.mem_get_info(device)[0] // 4)
    floats = torch.ones(size // 4, device=device)
    target = torch.empty_like(floats)
    # As a decode step reads weights: a matrix times one vector.
    matrix = torch.ones(size // 2 // 4096, 4096, dtype=torch.bfloat16, device=device)
    vector = torch.ones(4096, dtype=torch.bfloat16, device=device)
    clock = _cpu_seconds if device == "cpu" else _cuda_seconds
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "sum of float32": (floats.sum, 1),
        "bf16 matrix times vector": (lambda: torch.mv(matrix, vector), 1),
        # It reads and writes.
        "copy, read and written": (lambda: target.copy_(floats), 2),
    }
    return {name: times * size / _best(clock, work) for name, (work, times) in ways.items()}


def _best(clock: Callable[[Callable[[], object]], float], work: Callable[[], object]) -> float:
    # The first loads its kernel.
    clock(work)
    return min(clock(work) for _ in range(_REPEATS))


def _cuda_seconds(work: Callable[[], object]) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def _cpu_seconds(work: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


if __name__ == "__main__":
    main()
