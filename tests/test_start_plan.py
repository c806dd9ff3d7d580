"""What a start says before it loads anything: the devices, and what goes where."""

from msgspec.structs import replace

from tests.pool.driving import entry
from webapp.catalog import Catalog, Weights
from webapp.devices import Device
from webapp.placement import Machine
from webapp.start_plan import plan_lines

GB = 10**9
NOW = entry("Now", slots=4, memory="2 GB")
LATER = entry("Later", slots=4, memory="3 GB", is_loaded_at_start=False)


def lines(*devices: Device, entries: object = (NOW, LATER), default: str = "auto", share: float = 0.5) -> list[str]:
    machine = Machine(devices=devices, device_share=share, default=default)
    return plan_lines(Catalog(list(entries), machine=machine))


def test_without_a_device_it_is_one_line() -> None:
    assert lines() == ["No CUDA device: models run on the processor."]
    assert lines(default="cpu") == ["Models run on the processor (JETON_DEVICE=cpu)."]
    assert lines(default="cuda:3") == ["No CUDA device for JETON_DEVICE=cuda:3."]


def test_remarks_of_the_search_stand_first() -> None:
    machine = Machine(remarks=("NVIDIA's driver does not work: error 9.",))

    assert plan_lines(Catalog([NOW], machine=machine)) == [
        "NVIDIA's driver does not work: error 9.",
        "No CUDA device: models run on the processor.",
    ]


def test_each_device_and_each_model_has_its_line() -> None:
    assert lines(Device("cuda:0", "NVIDIA H200", 150 * GB), Device("cuda:1", "NVIDIA L4", 5 * GB)) == [
        "cuda:0: NVIDIA H200, 150.0 GB, of which models may take 75.0 GB.",
        "cuda:1: NVIDIA L4, 5.0 GB, of which models may take 2.5 GB.",
        "Loads now: Now on cuda:0 (4 slots, 2.0 GB), on cuda:1 (4 slots, 2.0 GB).",
        "Loads at first use: Later on cuda:0 (4 slots, 3.0 GB).",
    ]


def test_several_engines_of_a_device_and_one_slot_are_said_so() -> None:
    (_, line) = lines(Device("cuda:0", "NVIDIA L4", 24 * GB), entries=[replace(NOW, engines=2, slots=1)])

    assert line == "Loads now: Now 2 times on cuda:0 (1 slot, 2.0 GB)."


def test_what_others_use_is_said_where_it_is_worth_it_and_a_warning_where_it_is_too_much() -> None:
    (little,) = lines(Device("cuda:0", "L4", 24 * GB, used_bytes=5 * 10**8), entries=[])
    (some,) = lines(Device("cuda:0", "L4", 24 * GB, used_bytes=3 * GB), entries=[])
    (much,) = lines(Device("cuda:0", "L4", 24 * GB, used_bytes=13 * GB), entries=[])

    assert "Other" not in little
    assert some.endswith("Other programs use 3.0 GB of it now.")
    assert much.endswith("now: models may fail to load (JETON_GPU_MEMORY_SHARE leaves them more).")


def test_models_that_cannot_run_or_run_elsewhere_are_not_in_the_plan() -> None:
    elsewhere = replace(NOW, weights=Weights(remote=True))
    missing = replace(NOW, name="missing", weights=Weights(folder="/nonexistent"))
    large = replace(LATER, name="large", memory="90 GB")

    assert len(lines(Device("cuda:0", "L4", 24 * GB), entries=[elsewhere, missing, large])) == 1
