"""What NVIDIA's driver says of its GPUs, by NVML (nvidia-ml-py). Makes no CUDA context; knows no torch.

NVML numbers GPUs by their place on the PCI bus. https://docs.nvidia.com/deploy/nvml-api/
"""

from dataclasses import dataclass, replace
from typing import Any

# nvidia-ml-py's module, or something in its place.
Nvml = Any


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one (MIG). Of one that is divided only the `parts` can be used.

    Its memory is 0 where the driver does not say it, as of GPUs that share the machine's.
    """

    uuid: str
    title: str
    memory_bytes: int
    used_bytes: int
    is_part: bool = False
    is_divided: bool = False
    parts: tuple["Gpu", ...] = ()


@dataclass(frozen=True)
class Driver:
    """All GPUs of the machine, and the newest CUDA that the driver runs, as (13, 0)."""

    gpus: tuple[Gpu, ...]
    cuda: tuple[int, int]


class DriverBroken(Exception):
    """There is a driver, and it does not answer; the message says what it says."""


def ask_driver(nvml: Nvml) -> Driver | None:
    """What the driver says; None where there is none. Raises DriverBroken."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            return None
        raise DriverBroken(str(error)) from error
    try:
        count = nvml.nvmlDeviceGetCount()
        gpus = tuple(_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count))
        number = nvml.nvmlSystemGetCudaDriverVersion_v2()
        return Driver(gpus, (number // 1000, number % 1000 // 10))
    except nvml.NVMLError as error:
        raise DriverBroken(str(error)) from error
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Nvml, handle: object) -> Gpu:
    gpu = _describe(nvml, handle)
    if not _is_divided(nvml, handle):
        return gpu
    parts = tuple(replace(_describe(nvml, part), is_part=True) for part in _parts(nvml, handle))
    return replace(gpu, is_divided=True, parts=parts)


def _describe(nvml: Nvml, handle: object) -> Gpu:
    total, used = _memory(nvml, handle)
    return Gpu(nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle), total, used)


def _memory(nvml: Nvml, handle: object) -> tuple[int, int]:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_NOT_SUPPORTED:
            raise
        return 0, 0
    return memory.total, memory.used


def _is_divided(nvml: Nvml, handle: object) -> bool:
    try:
        return nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE
    except nvml.NVMLError:
        # Most GPUs cannot be divided at all.
        return False


def _parts(nvml: Nvml, handle: object) -> list[object]:
    parts: list[object] = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            parts.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
        except nvml.NVMLError:
            # No part has been made at this place.
            continue
    return parts
