"""Which CUDA devices engines can use: what the driver has, what CUDA_VISIBLE_DEVICES leaves of it, what torch can do.

Finds that out without importing torch, and without a CUDA context. Knows no model and no setting of Jeton's.
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from webapp.devices import Device
from webapp.nvml import Driver, DriverBroken, Gpu, Nvml, ask_driver

DEVICE_ORDER = "CUDA_DEVICE_ORDER"
# The order in which NVML, nvidia-smi and so Jeton number devices; CUDA's own default is "the fastest first".
PCI_BUS_ORDER = "PCI_BUS_ID"
# Where torch is for machines with a GPU, and what it is built with there: the first that the machine can run is meant.
_TORCH_INDEX = "https://download.pytorch.org/whl/"
_TORCH_BUILDS = {"cu130": (13, 0), "cu126": (12, 6)}
# Where it is, a GPU can be used, also in a container that has not been given NVML.
_DEVICE_FILE = Path("/dev/nvidiactl")
_NO_NVML = (
    "There is an NVIDIA driver, and its library that tells of GPUs (libnvidia-ml.so.1) is not here: state them in "
    "JETON_CUDA_DEVICES. A container gets it with NVIDIA_DRIVER_CAPABILITIES=compute,utility."
)


@dataclass(frozen=True)
class TorchBuild:
    """The installed torch; `cuda` is the version it was built with, as (13, 0), None where it knows no CUDA."""

    version: str
    cuda: tuple[int, int] | None


@dataclass(frozen=True)
class FoundDevices:
    """The devices, in their order, and in a sentence each what whoever starts Jeton should know of them."""

    devices: tuple[Device, ...] = ()
    remarks: tuple[str, ...] = ()


def installed_torch() -> TorchBuild | None:
    """The torch that engines would import, by its own version.py; None where there is none."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    return read_torch_build(Path(spec.origin).with_name("version.py"))


def read_torch_build(path: Path) -> TorchBuild | None:
    """What a torch's version.py says; None where it cannot be read."""
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    said: dict[str, object] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value := getattr(node, "value", None), ast.Constant):
                said[target.id] = value.value
    return TorchBuild(str(said.get("__version__", "")), _version(said.get("cuda")))


def find_devices(
    environ: Mapping[str, str],
    nvml: Nvml,
    *,
    torch: Callable[[], TorchBuild | None] = installed_torch,
    device_file: Path = _DEVICE_FILE,
) -> FoundDevices:
    """The CUDA devices that engines can use, named as torch will name them in `engine_environ`."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not _wanted(visible):
        return FoundDevices()
    try:
        driver = ask_driver(nvml)
    except DriverBroken as error:
        return FoundDevices(remarks=(f"NVIDIA's driver does not work: {error}.",))
    if driver is None and device_file.exists():
        return FoundDevices(remarks=(_NO_NVML,))
    if driver is None or not driver.gpus:
        return FoundDevices()
    build = torch()
    if obstacle := _torch_obstacle(driver, build):
        return FoundDevices(remarks=(obstacle,))
    remarks = _order_remarks(driver, environ)
    chosen = list(driver.gpus) if visible is None else _chosen(driver.gpus, _wanted(visible))
    parts = [part for gpu in chosen for part in ([gpu] if gpu.is_part else gpu.parts)]
    if len(parts) > 1:
        remarks.append(f"CUDA shows a process one part of a divided GPU (MIG): {parts[0].title} is used, no other.")
    # As soon as there is one part, CUDA shows no whole GPU either.
    usable = parts[:1] or [gpu for gpu in chosen if not gpu.is_divided]
    devices: list[Device] = []
    for number, gpu in enumerate(usable):
        device = Device(f"cuda:{number}", gpu.title, gpu.memory_bytes, gpu.used_bytes)
        name = f"{device.name} ({device.title})"
        if build and build.cuda and not _runs_on(gpu, build.cuda):
            remarks.append(f"{name} is left out: the installed torch ({build.version}) {_misfit(gpu)}.")
        elif not device.memory_bytes:
            remarks.append(f"The driver does not say how much memory {name} has: state it in JETON_CUDA_DEVICES.")
        else:
            devices.append(device)
    return FoundDevices(tuple(devices), tuple(remarks))


def engine_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What engines find in their environment, so that torch numbers devices as they were found here."""
    return {**environ, DEVICE_ORDER: PCI_BUS_ORDER}


def _wanted(visible: str) -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, up to the first that is none: indices as digits, or UUIDs."""
    kind = visible.strip()[:4]
    is_by_uuid = kind in ("GPU-", "MIG-")
    wanted: list[str] = []
    for part in visible.split(","):
        # CUDA reads a number as C does (strtoul): what follows it is left out.
        found = re.match(rf"{kind}\S+" if is_by_uuid else r"\+?[0-9]+", part.strip())
        if not found:
            break
        wanted.append(found[0] if is_by_uuid else str(int(found[0])))
    # One that is named twice hides all (as torch.cuda reads it, too).
    return wanted if len(set(wanted)) == len(wanted) else []


def _chosen(gpus: tuple[Gpu, ...], wanted: list[str]) -> list[Gpu]:
    """The GPUs and parts that are named, up to the first name that is nobody's."""
    everything = [*gpus, *(part for gpu in gpus for part in gpu.parts)]
    chosen: list[Gpu] = []
    for name in wanted:
        # The beginning of a UUID is enough where it is one GPU's only.
        is_index = name.isdigit()
        found = gpus[int(name) :][:1] if is_index else [gpu for gpu in everything if gpu.uuid.startswith(name)]
        if len(found) != 1 or found[0] in chosen:
            break
        chosen += found
    return chosen


def _torch_obstacle(driver: Driver, torch: TorchBuild | None) -> str:
    """Why the installed torch can use none of the GPUs that are there, and what can; empty where it can."""
    gpu = driver.gpus[0]
    machine = f"This machine has a GPU ({gpu.title})"
    if torch is None:
        return f"{machine}, and torch is not installed."
    if torch.cuda is None:
        reason = f"{machine} that the installed torch ({torch.version}) cannot use."
    # Within one major version an older driver runs what was built with a newer CUDA.
    elif torch.cuda[0] > driver.cuda[0]:
        reason = (
            f"{machine} whose driver runs CUDA {_dotted(driver.cuda)}, and the installed torch was built with CUDA "
            f"{_dotted(torch.cuda)}: it needs a newer driver, or another torch."
        )
    elif not any(_runs_on(each, torch.cuda) for each in driver.gpus):
        reason = f"{machine}, and the installed torch ({torch.version}) {_misfit(gpu)}."
    else:
        return ""
    version = torch.version.partition("+")[0]
    for build, cuda in _TORCH_BUILDS.items():
        if cuda[0] <= driver.cuda[0] and any(_runs_on(each, cuda) for each in driver.gpus):
            command = f".venv/bin/pip install torch=={version}+{build} --index-url {_TORCH_INDEX}{build}"
            return f"{reason} To install one that can: {command}"
    return f"{reason} For this GPU and its driver there is none: a newer driver is needed first."


def _runs_on(gpu: Gpu, cuda: tuple[int, int]) -> bool:
    """Whether a torch that was built with this CUDA has kernels for the GPU.

    https://github.com/pytorch/pytorch/blob/main/RELEASE.md#pytorch-cuda-support-matrix
    """
    if gpu.capability is None:
        return True
    least = (7, 5) if cuda >= (13, 0) else (5, 0)
    return gpu.capability >= least and (cuda >= (12, 8) or gpu.capability < (10, 0))


def _misfit(gpu: Gpu) -> str:
    assert gpu.capability is not None
    return f"does not run on GPUs of its compute capability, {_dotted(gpu.capability)}"


def _order_remarks(driver: Driver, environ: Mapping[str, str]) -> list[str]:
    order = environ.get(DEVICE_ORDER)
    if order in (None, "", PCI_BUS_ORDER) or len(driver.gpus) < 2:
        return []
    return [f"{DEVICE_ORDER}={order} is left out: devices are numbered by their PCI bus, as nvidia-smi does."]


def _version(text: object) -> tuple[int, int] | None:
    found = re.match(r"([0-9]+)\.([0-9]+)", text) if isinstance(text, str) else None
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
