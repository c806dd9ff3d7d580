"""What NVIDIA's driver says of its GPUs, by NVML (nvidia-ml-py). Makes no CUDA context; knows no torch.

NVML numbers GPUs by their place on the PCI bus. https://docs.nvidia.com/deploy/nvml-api/
"""

import contextlib
from dataclasses import dataclass, replace
from typing import Any

# nvidia-ml-py's module, or something in its place.
Nvml = Any


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one (MIG). Of one that is divided only the `parts` can be used.

    Its memory is 0 where the driver does not say it, as of GPUs that share the machine's; its compute capability, such
    as (9, 0), None.
    """

    uuid: str
    title: str
    memory_bytes: int
    used_bytes: int
    capability: tuple[int, int] | None = None
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
        gpus = tuple(_gpu(nvml, handle) for index in range(count) if (handle := _handle(nvml, index)) is not None)
        number = nvml.nvmlSystemGetCudaDriverVersion_v2()
        return Driver(gpus, (number // 1000, number % 1000 // 10))
    except nvml.NVMLError as error:
        raise DriverBroken(str(error)) from error
    finally:
        # One that broke meanwhile cannot even be closed.
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _handle(nvml: Nvml, index: int) -> object | None:
    try:
        return nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_NO_PERMISSION:
            raise
        # Kept from this process, as batch systems do: CUDA does not count it either.
        return None


def _gpu(nvml: Nvml, handle: object) -> Gpu:
    gpu = replace(_describe(nvml, handle), capability=_capability(nvml, handle))
    if not _is_divided(nvml, handle):
        return gpu
    described = (_describe(nvml, part) for part in _parts(nvml, handle))
    parts = tuple(replace(part, capability=gpu.capability, is_part=True) for part in described)
    return replace(gpu, is_divided=True, parts=parts)


def _capability(nvml: Nvml, handle: object) -> tuple[int, int] | None:
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return None
    return major, minor


def _describe(nvml: Nvml, handle: object) -> Gpu:
    total, used = _memory(nvml, handle)
    return Gpu(nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle), total, used)


def _memory(nvml: Nvml, handle: object) -> tuple[int, int]:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        # That of a whole GPU that is divided is told to administrators only.
        if error.value not in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NO_PERMISSION):
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
