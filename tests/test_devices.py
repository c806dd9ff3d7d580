"""Which CUDA devices are found: by what a driver says, what CUDA_VISIBLE_DEVICES leaves, and what torch can use."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from tests.nvml_stub import StubGpu, StubNvml
from webapp.catalog import CatalogError
from webapp.device_search import (
    FoundDevices,
    TorchBuild,
    engine_environ,
    find_devices,
    installed_torch,
    read_torch_build,
)
from webapp.devices import Device, parse_devices
from webapp.engine.process import join
from webapp.settings import read_settings

CUDA_13 = TorchBuild("2.13.0+cu130", (13, 0))
FIRST = StubGpu("GPU-aaaa1111-0000", memory_bytes=150, used_bytes=5)
SECOND = StubGpu("GPU-aaaa2222-0000", "NVIDIA L4", 24)
PASCAL = StubGpu("GPU-ffff0000-0000", "NVIDIA GeForce GTX 1070", 8, capability=(6, 1))
THIRD = StubGpu("GPU-bbbb0000-0000", "NVIDIA L4", 25)
DIVIDED = StubGpu(
    "GPU-cccc0000-0000",
    "NVIDIA H100",
    parts=[StubGpu("MIG-1111-0", "NVIDIA H100 MIG 1g.10gb", 10), StubGpu("MIG-2222-0", "NVIDIA H100 MIG 2g.20gb", 20)],
)


def found(
    *gpus: StubGpu,
    visible: str | None = None,
    torch: TorchBuild | None = CUDA_13,
    order: str | None = None,
    **nvml: object,
) -> FoundDevices:
    stub = StubNvml(*gpus, **nvml)
    given = {"CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": order}
    environ = {name: value for name, value in given.items() if value is not None}
    devices = find_devices(environ, stub, torch=lambda: torch, device_file=Path("/nonexistent"))
    assert stub.opened == 0
    return devices


def sizes(found: FoundDevices) -> list[int]:
    """The memory of the devices, by which the tests know them; their names count from 0."""
    assert [device.name for device in found.devices] == [f"cuda:{number}" for number in range(len(found.devices))]
    return [device.memory_bytes for device in found.devices]


# --- what a driver says ---


def test_devices_are_those_of_the_driver_in_its_order() -> None:
    assert found(FIRST, SECOND) == FoundDevices(
        (Device("cuda:0", "NVIDIA H200", 150, used_bytes=5), Device("cuda:1", "NVIDIA L4", 24))
    )


def test_machine_without_a_driver_has_no_device_and_nothing_to_say() -> None:
    assert found(FIRST, failing="nvmlInit") == FoundDevices()
    assert found() == FoundDevices()


def test_driver_that_breaks_while_it_is_closed_has_said_what_there_is() -> None:
    assert sizes(found(FIRST, failing="nvmlShutdown", failure=9)) == [150]


def test_driver_that_cannot_be_asked_in_a_container_is_told(tmp_path: Path) -> None:
    without_nvml = StubNvml(FIRST, failing="nvmlInit")
    device_file = tmp_path / "nvidiactl"
    device_file.touch()

    devices = find_devices({}, without_nvml, torch=lambda: CUDA_13, device_file=device_file)

    (remark,) = devices.remarks
    assert devices.devices == () and "state them in JETON_CUDA_DEVICES" in remark


def test_this_machine_is_asked_without_torch_and_quickly() -> None:
    started_at = time.monotonic()

    devices = find_devices({}, pynvml)

    assert time.monotonic() - started_at < 5
    assert all(device.memory_bytes > 0 for device in devices.devices)


@pytest.mark.parametrize("failing", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetMemoryInfo"])
def test_driver_that_does_not_work_leaves_the_processor_and_says_so(failing: str) -> None:
    assert found(FIRST, failing=failing, failure=StubNvml.NVML_ERROR_DRIVER_NOT_LOADED) == FoundDevices(
        remarks=("NVIDIA's driver does not work: error 9.",)
    )


def test_device_whose_memory_the_driver_does_not_say_has_to_be_stated_and_others_keep_their_names() -> None:
    shared = StubGpu("GPU-eeee", "NVIDIA GB10", memory_bytes=0)

    assert found(shared, SECOND) == FoundDevices(
        (Device("cuda:1", "NVIDIA L4", 24),),
        ("The driver does not say how much memory cuda:0 (NVIDIA GB10) has: state it in JETON_CUDA_DEVICES.",),
    )


def test_device_that_is_kept_from_this_process_does_not_count() -> None:
    assert sizes(found(replace(FIRST, is_hidden=True), SECOND)) == [24]


# --- CUDA_VISIBLE_DEVICES ---


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,1,2", [150, 24, 25]),
        ("2,0", [25, 150]),
        (" 1 , 2 ", [24, 25]),
        ("1gpu2,2ampere", [24, 25]),
        ("", []),
        ("-1", []),
        ("none", []),
        ("NoDevFiles", []),
        ("0,-1,1", [150]),
        ("0,7,1", [150]),
        ("7", []),
        ("0,x,1", [150]),
        ("1,1", []),
        ("GPU-aaaa2222-0000", [24]),
        ("GPU-aaaa2", [24]),
        ("GPU-bbbb,GPU-aaaa1", [25, 150]),
        # Two begin so.
        ("GPU-aaaa", []),
        ("GPU-bbbb,GPU-aaaa,GPU-aaaa1", [25]),
        ("GPU-bbbb,0", [25]),
        ("GPU-bbbb,GPU-bbbb0", [25]),
        ("0,GPU-bbbb", [150]),
    ],
)
def test_visible_devices_are_those_that_are_named_up_to_the_first_that_is_none(
    visible: str, expected: list[int]
) -> None:
    assert sizes(found(FIRST, SECOND, THIRD, visible=visible)) == expected


def test_hidden_devices_are_no_reason_to_ask_the_driver() -> None:
    assert found(FIRST, visible="-1", failing="nvmlInit", failure=9) == FoundDevices()


def test_engines_number_devices_as_they_were_found() -> None:
    assert engine_environ({"A": "b", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}) == {
        "A": "b",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def test_engine_that_joins_another_machines_pool_numbers_devices_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    models = str(Path(__file__).with_name("models.toml"))
    settings = read_settings({"JETON_MODELS_FILE": models, "JETON_DEVICE": "cuda", "JETON_CUDA_DEVICES": "none"})

    with pytest.raises(CatalogError, match="is to run on cuda"):
        join(settings, model="@jeton/scripted", pool_address="tcp://127.0.0.1:1", keys_folder=tmp_path)

    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_another_order_of_several_devices_is_told_to_be_left_out() -> None:
    (remark,) = found(FIRST, SECOND, order="FASTEST_FIRST").remarks
    assert remark.startswith("CUDA_DEVICE_ORDER=FASTEST_FIRST is left out")

    assert found(FIRST, order="FASTEST_FIRST").remarks == ()
    assert found(FIRST, SECOND, order="PCI_BUS_ID").remarks == ()


# --- parts of a GPU ---


def test_of_a_divided_gpu_the_first_part_is_used_as_cuda_does() -> None:
    devices = found(DIVIDED)

    assert devices.devices == (Device("cuda:0", "NVIDIA H100 MIG 1g.10gb", 10),)
    assert devices.remarks == (
        "CUDA shows a process one part of a divided GPU (MIG): NVIDIA H100 MIG 1g.10gb is used, no other.",
    )


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("MIG-2222", [20]), ("MIG-2222-0", [20]), ("MIG-2222,MIG-1111", [20]), ("MIG-9", []), ("0", [150]), ("1", [10])],
)
def test_part_is_chosen_by_its_uuid(visible: str, expected: list[int]) -> None:
    assert sizes(found(FIRST, DIVIDED, visible=visible)) == expected


def test_part_is_found_where_the_memory_of_the_whole_is_told_to_administrators_only() -> None:
    assert sizes(found(replace(DIVIDED, is_memory_hidden=True))) == [10]


def test_with_a_part_there_is_no_whole_gpu() -> None:
    assert sizes(found(FIRST, DIVIDED)) == [10]


def test_divided_gpu_without_parts_cannot_be_used() -> None:
    assert sizes(found(StubGpu("GPU-dddd", parts=[]))) == []
    assert sizes(found(StubGpu("GPU-dddd", parts=[]), FIRST)) == [150]


# --- torch ---


def test_torch_without_cuda_leaves_the_processor_and_says_which_can() -> None:
    devices = found(FIRST, torch=TorchBuild("2.13.0+cpu", None), cuda=12040)

    (remark,) = devices.remarks
    assert devices.devices == ()
    assert remark.startswith("This machine has a GPU (NVIDIA H200) that the installed torch (2.13.0+cpu) cannot use")
    assert "pip install torch==2.13.0+cu126 --index-url" in remark and remark.endswith("/cu126")


@pytest.mark.parametrize(("driver", "is_usable"), [(13000, True), (13020, True), (14000, True), (12080, False)])
def test_driver_that_is_older_than_torchs_cuda_leaves_the_processor(driver: int, *, is_usable: bool) -> None:
    devices = found(FIRST, torch=TorchBuild("2.13.0+cu131", (13, 1)), cuda=driver)

    assert bool(devices.devices) is is_usable
    assert bool(devices.remarks) is not is_usable
    assert is_usable or "whose driver runs CUDA 12.8, and the installed torch was built with CUDA 13.1" in "".join(
        devices.remarks
    )


def test_driver_that_is_older_than_torchs_cuda_is_told_which_torch_it_runs() -> None:
    (remark,) = found(FIRST, cuda=12080).remarks
    assert remark.endswith("torch==2.13.0+cu126 --index-url https://download.pytorch.org/whl/cu126")

    (remark,) = found(StubGpu("GPU-ffff", capability=(12, 0)), cuda=12080).remarks
    assert remark.endswith("a newer driver is needed first.")


def test_gpu_that_is_too_old_for_torch_leaves_the_processor_and_is_told_which_torch_can() -> None:
    devices = found(PASCAL)

    (remark,) = devices.remarks
    assert devices.devices == ()
    assert "(2.13.0+cu130) does not run on GPUs of its compute capability, 6.1. To install one that can" in remark
    assert remark.endswith("/cu126")
    assert sizes(found(PASCAL, torch=TorchBuild("2.13.0+cu126", (12, 6)))) == [8]


def test_gpu_that_is_too_old_for_torch_is_left_out_and_others_keep_their_names() -> None:
    devices = found(PASCAL, SECOND)

    assert devices.devices == (Device("cuda:1", "NVIDIA L4", 24),)
    assert devices.remarks == (
        "cuda:0 (NVIDIA GeForce GTX 1070) is left out: the installed torch (2.13.0+cu130) does not run on GPUs of its "
        "compute capability, 6.1.",
    )


def test_gpu_of_unknown_age_is_used() -> None:
    assert sizes(found(StubGpu("GPU-ffff", memory_bytes=8, capability=None))) == [8]


def test_machine_without_torch_says_so() -> None:
    assert found(FIRST, torch=None).remarks == ("This machine has a GPU (NVIDIA H200), and torch is not installed.",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from typing import Optional\n__version__ = '2.11.0+cu130'\ncuda: Optional[str] = '13.0'", (13, 0)),
        ("__version__ = '2.13.0'\ncuda = '12.6'\nhip: str | None = None", (12, 6)),
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None", None),
        ("__version__ = '2.13.0'", None),
    ],
)
def test_torch_says_in_its_version_file_which_cuda_it_was_built_with(
    tmp_path: Path, text: str, expected: tuple[int, int] | None
) -> None:
    (tmp_path / "version.py").write_text(text)

    build = read_torch_build(tmp_path / "version.py")

    assert build is not None and build.cuda == expected
    assert build.version.startswith("2.1")


@pytest.mark.parametrize("text", [None, "this is no Python", "\0"])
def test_version_file_that_cannot_be_read_is_no_torch(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "version.py").write_text(text)

    assert read_torch_build(tmp_path / "version.py") is None


def test_installed_torch_is_read_where_it_lies() -> None:
    build = installed_torch()

    assert build is not None and build.version[0].isdigit()


# --- stated by hand ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", []),
        ("NVIDIA H200: 141 GB", [("NVIDIA H200", 141 * 10**9)]),
        ("Orin:64GB , L4 : 24 GiB", [("Orin", 64 * 10**9), ("L4", 24 * 2**30)]),
    ],
)
def test_devices_are_stated_by_title_and_memory(text: str, expected: list[tuple[str, int]]) -> None:
    devices = parse_devices(text)

    assert [(device.title, device.memory_bytes) for device in devices] == expected
    assert [device.name for device in devices] == [f"cuda:{number}" for number in range(len(expected))]


@pytest.mark.parametrize("text", ["H200", "H200: much", ": 5 GB", "H200: 5 GB,", "a: b: 5 GB", "H200 5 GB", "None"])
def test_devices_that_are_stated_otherwise_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_devices(text)
