"""A driver as nvidia-ml-py shows it, without one: the functions that Jeton asks, over GPUs that a test describes."""

from dataclasses import dataclass


@dataclass
class StubGpu:
    """A GPU, or a part of one. `parts` is None where the GPU cannot be divided, empty where nothing was made of it."""

    uuid: str
    title: str = "NVIDIA H200"
    memory_bytes: int = 150_000_000_000
    used_bytes: int = 0
    parts: "list[StubGpu] | None" = None
    # None where the driver does not say it.
    capability: tuple[int, int] | None = (9, 0)
    # The driver keeps it, or its memory, from who is no administrator.
    is_hidden: bool = False
    is_memory_hidden: bool = False


@dataclass
class Memory:
    total: int
    used: int


class StubNvml:
    """The module. `failure` is the number of the error with which the function `failing` ends."""

    NVML_ERROR_LIBRARY_NOT_FOUND = 12
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_NO_PERMISSION = 4
    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(f"error {value}")
            self.value = value

    def __init__(
        self, *gpus: StubGpu, cuda: int = 13000, failing: str = "", failure: int = NVML_ERROR_LIBRARY_NOT_FOUND
    ) -> None:
        self._gpus = gpus
        self._cuda = cuda
        self._failing, self._failure = failing, failure
        # How often it is open: a caller leaves it as it was.
        self.opened = 0

    def nvmlInit(self) -> None:
        self._answer("nvmlInit")
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1
        self._answer("nvmlShutdown")

    def nvmlDeviceGetCount(self) -> int:
        return self._answer("nvmlDeviceGetCount", len(self._gpus))

    def nvmlDeviceGetHandleByIndex(self, index: int) -> StubGpu:
        if self._gpus[index].is_hidden:
            raise self.NVMLError(self.NVML_ERROR_NO_PERMISSION)
        return self._gpus[index]

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return self._cuda

    def nvmlDeviceGetName(self, gpu: StubGpu) -> str:
        return gpu.title

    def nvmlDeviceGetUUID(self, gpu: StubGpu) -> str:
        return gpu.uuid

    def nvmlDeviceGetCudaComputeCapability(self, gpu: StubGpu) -> tuple[int, int]:
        if gpu.capability is None:
            raise self.NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return gpu.capability

    def nvmlDeviceGetMemoryInfo(self, gpu: StubGpu) -> Memory:
        if gpu.is_memory_hidden:
            raise self.NVMLError(self.NVML_ERROR_NO_PERMISSION)
        if not gpu.memory_bytes:
            raise self.NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return self._answer("nvmlDeviceGetMemoryInfo", Memory(gpu.memory_bytes, gpu.used_bytes))

    def nvmlDeviceGetMigMode(self, gpu: StubGpu) -> list[int]:
        if gpu.parts is None:
            raise self.NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return [self.NVML_DEVICE_MIG_ENABLE, self.NVML_DEVICE_MIG_ENABLE]

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: StubGpu) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: StubGpu, index: int) -> StubGpu:
        # The first place is vacant, as happens.
        if not gpu.parts or not 1 <= index <= len(gpu.parts):
            raise self.NVMLError(6)
        return gpu.parts[index - 1]

    def _answer(self, name: str, answer: object = None) -> object:
        if name == self._failing:
            raise self.NVMLError(self._failure)
        return answer
