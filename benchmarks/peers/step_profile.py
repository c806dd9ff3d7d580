"""Where a step's time goes, by torch's profiler: kernels on a GPU, operators on a processor."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

_STEPS = 8
# Of the longest.
_KERNELS = 20


def profiled(step: Callable[[], object], *, device: str) -> dict[str, Any]:
    """Microseconds of one step: by the clock and without the profiler, in kernels, and of each of the longest."""
    is_cuda = device.startswith("cuda")
    started_at = time.perf_counter()
    for _ in range(_STEPS):
        step()
    seconds = time.perf_counter() - started_at
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    with profile(activities=activities) as found:
        for _ in range(_STEPS):
            step()
        if is_cuda:
            torch.cuda.synchronize(device)
    rows: list[tuple[str, int, float]] = []
    for row in found.key_averages():
        # On a GPU the operators are listed too, with their kernels' time: those have a device of their own.
        is_kernel = str(row.device_type).endswith("CUDA")
        # What torch.compile writes around its kernels would count them twice.
        if is_kernel == is_cuda and not getattr(row, "is_user_annotation", False):
            microseconds = row.self_device_time_total if is_cuda else row.self_cpu_time_total
            rows.append((row.key, row.count, microseconds))
    rows.sort(key=lambda row: row[2], reverse=True)
    return {
        "step_microseconds": seconds * 1e6 / _STEPS,
        "device_microseconds": sum(microseconds for _, _, microseconds in rows) / _STEPS,
        "kernels": [
            {"name": name[:120], "calls": calls / _STEPS, "microseconds": microseconds / _STEPS}
            for name, calls, microseconds in rows[:_KERNELS]
        ],
    }
