"""What the processor has: cores this process may use, and which number formats are fast."""

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_CPU_INFO = Path("/proc/cpuinfo")


def physical_cores() -> int:
    """Physical cores this process may use, at least 1. Two threads of one core share what matrix products need."""
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 2) // 2)
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota()))


def instructions() -> str:
    """The names of what the processor can do, as Linux lists them (flags on x86, Features on ARM)."""
    lines = _read(_CPU_INFO).splitlines()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def has_fast_bf16() -> bool:
    """Whether the processor multiplies bf16 itself; where it does not, fp32 is faster."""
    flags = instructions()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _siblings(cpu: int) -> str:
    return _read(_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").strip() or str(cpu)


def _quota() -> int:
    """Whole processors that the container may use, by the control group's quota."""
    limit, _, period = _read(_QUOTA).strip().partition(" ")
    return max(1, int(limit) // int(period)) if limit.isdigit() and period.isdigit() else os.cpu_count() or 1


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
