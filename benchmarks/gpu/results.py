"""What a run of the GPU benchmark found: everything its report is made of, as one JSON file."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.results import Bandwidth, LongPromptResult
from benchmarks.streams import Figures


class DeviceFacts(msgspec.Struct, kw_only=True):
    """What the run was on. Without a GPU the name is empty, and `processor` says what computed."""

    is_cuda: bool
    name: str = ""
    memory_bytes: int = 0
    multiprocessors: int = 0
    capability: str = ""
    uuid: str = ""
    dtype: str = "bfloat16"
    torch_cuda: str | None = None
    has_flash_attention: bool = False
    missing_for_serve: list[str] = []
    missing_for_int8: list[str] = []


class ShapeFacts(msgspec.Struct, kw_only=True):
    """The model: its weights are random. `bytes_read` by one decode step, by variant."""

    name: str
    title: str
    parameters: int
    vocabulary: int
    positions: int
    bytes_read: dict[str, int]


class Measured(msgspec.Struct, kw_only=True):
    """One contender as it ran. `device_bytes` is what the device's programs had taken at its end, of which
    `own_bytes` its weights, cache and work space where it says so; `pss_bytes` what its processes took of the host."""

    name: str
    title: str
    precision: str
    variant: str
    is_http: bool
    is_ours: bool
    # How the engine was changed from its defaults; empty where it was not.
    way: str = ""
    start_seconds: float = 0.0
    # What an engine said of itself while it loaded.
    remarks: list[str] = []
    device_bytes: int | None = None
    own_bytes: int | None = None
    pss_bytes: int = 0


class GpuRun(msgspec.Struct, kw_only=True):
    """One round of one contender under one load; `is_limit`: that of the published limits of its variant.

    `outside_share`: of all cores, what other programs took.
    """

    contender: str
    load: str
    streams: int
    prompt_tokens: int
    new_tokens: int
    is_limit: bool = False
    round_number: int
    figures: Figures | None = None
    outside_share: float = 0.0
    failure: str | None = None


class FirstTokens(msgspec.Struct, kw_only=True):
    """Seconds from sending a prompt to an idle contender until the first piece of text, one prompt after the other."""

    contender: str
    prompt_tokens: int
    seconds: list[float]


class WayQuality(msgspec.Struct, kw_only=True):
    """The next-token distributions after each token of a fixed text, beside those of fp16. Divergence in nats."""

    contender: str
    tokens: int
    top1: float
    divergence: float


class KernelTime(msgspec.Struct, kw_only=True):
    """What one kernel (or, on a processor, one operator) took of a decode step."""

    name: str
    calls: float
    microseconds: float


class Profile(msgspec.Struct, kw_only=True):
    """Where the time of one decode step goes. `kernels`: those that take most, the longest first."""

    contender: str
    streams: int
    step_microseconds: float
    device_microseconds: float
    kernels: list[KernelTime]


class GpuResults(msgspec.Struct, kw_only=True):
    """`left_out` names what was not measured, and why; `failures` what did not work."""

    date: str
    commit: str
    command: str
    seconds: float = 0.0
    machine: dict[str, str]
    versions: dict[str, str] = {}
    driver: str | None = None
    device: DeviceFacts
    shape: ShapeFacts
    bandwidth: Bandwidth | None = None
    contenders: list[Measured] = []
    runs: list[GpuRun] = []
    first_tokens: list[FirstTokens] = []
    long_prompt: list[LongPromptResult] = []
    quality: list[WayQuality] = []
    profiles: list[Profile] = []
    left_out: list[str] = []
    failures: list[str] = []

    def contender(self, name: str) -> Measured | None:
        return next((contender for contender in self.contenders if contender.name == name), None)


def read(path: Path) -> GpuResults:
    return msgspec.json.decode(path.read_bytes(), type=GpuResults)


def joined(parts: Sequence[GpuResults]) -> GpuResults:
    """Several runs of one commit on one device as one. Raises ValueError where they are of different ones.

    What one left out another may hold, so what was left out is no longer said.
    """
    first = parts[0]
    for part in parts[1:]:
        if (part.commit, part.device.name, part.shape) != (first.commit, first.device.name, first.shape):
            raise ValueError("these runs are not of one commit, one device and one shape")
    contenders = {one.name: one for part in parts for one in part.contenders}
    return msgspec.structs.replace(
        first,
        command="; ".join(part.command for part in parts),
        seconds=sum(part.seconds for part in parts),
        bandwidth=next((part.bandwidth for part in parts if part.bandwidth), None),
        contenders=list(contenders.values()),
        runs=[run for part in parts for run in part.runs],
        first_tokens=[found for part in parts for found in part.first_tokens],
        long_prompt=[found for part in parts for found in part.long_prompt],
        quality=[found for part in parts for found in part.quality],
        profiles=[found for part in parts for found in part.profiles],
        left_out=[],
        failures=[failure for part in parts for failure in part.failures],
    )
