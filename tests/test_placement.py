"""What goes where: slots and bytes on machines of many kinds, by numbers alone."""

import pytest

from webapp.devices import Device
from webapp.placement import CUDA_HOST_BYTES, Demand, Machine, Placing, obstacle_of, place_all

GB = 10**9
# Llama 2 7B: 13.48 GB in 16 bits, 0.52 MB a position, and as many positions as the published fp16 variant has.
SLOT_BYTES = 5572 * 524_288
FP16 = Demand("fp16", slots=16, cpu_bytes=15 * GB, weight_bytes=13_477_000_000, slot_bytes=SLOT_BYTES)
INT8 = Demand("int8", slots=16, cpu_bytes=9 * GB, weight_bytes=7_000_000_000, slot_bytes=3848 * 524_288)
STARTER = Demand(
    "starter", slots=16, cpu_bytes=14 * 10**8, weight_bytes=130 * 10**6, slot_bytes=155 * 10**6, is_staying=True
)


def machine(*sizes: float, host: float | None = 96, default: str = "auto", share: float = 0.9) -> Machine:
    """A machine with CUDA devices of these sizes, in GB."""
    devices = tuple(Device(f"cuda:{number}", "A GPU", round(size * GB)) for number, size in enumerate(sizes))
    return Machine(None if host is None else round(host * GB), devices, device_share=share, default=default)


def changed(demand: Demand, **fields: object) -> Demand:
    return Demand(**{**demand.__dict__, **fields})


def only(demand: Demand, where: Machine) -> Placing:
    return place_all([demand], where)[demand.name]


def slots(placing: Placing) -> list[tuple[str, int]]:
    assert placing.obstacle is None
    return [(place.device, place.slots) for place in placing.places]


# --- one model ---


@pytest.mark.parametrize(
    ("where", "demand", "expected"),
    [
        (machine(141), FP16, [("cuda:0", 16)]),
        (machine(141), INT8, [("cuda:0", 16)]),
        (machine(80), FP16, [("cuda:0", 16)]),
        (machine(48), FP16, [("cuda:0", 9)]),
        (machine(24), FP16, [("cuda:0", 2)]),
        (machine(24), INT8, [("cuda:0", 6)]),
        (machine(24, 24), FP16, [("cuda:0", 2), ("cuda:1", 2)]),
        (machine(24, 8), FP16, [("cuda:0", 2)]),
        (machine(8), STARTER, [("cuda:0", 16)]),
        (machine(), FP16, [("cpu", 16)]),
    ],
    ids=str,
)
def test_model_goes_to_every_device_that_has_room_with_the_slots_that_fit(
    where: Machine, demand: Demand, expected: list[tuple[str, int]]
) -> None:
    placing = only(demand, where)

    assert slots(placing) == expected
    for place in placing.places:
        budget = where.budgets[place.device]
        assert budget is not None and place.device_bytes <= budget


def test_place_on_a_device_takes_weights_cache_and_a_gigabyte_and_some_of_the_machines_memory() -> None:
    (place,) = only(FP16, machine(24)).places

    assert place.needed == {"cuda:0": FP16.weight_bytes + 2 * SLOT_BYTES + GB, "cpu": CUDA_HOST_BYTES}


def test_model_that_no_device_has_room_for_is_refused_with_the_numbers() -> None:
    placing = only(FP16, machine(8, 12))

    assert placing.obstacle == (
        "fp16 needs about 17.4 GB of a CUDA device's memory for one generation at a time; of cuda:1 it may take "
        "10.8 GB (memory_share, JETON_GPU_MEMORY_SHARE)."
    )
    # They are kept all the same: whoever waits for it from before finds a post, and learns why.
    assert [place.device for place in placing.places] == ["cuda:0", "cuda:1"]


def test_share_of_a_device_bounds_the_slots_and_may_leave_no_room() -> None:
    assert slots(only(changed(INT8, memory_share=0.5), machine(141))) == [("cuda:0", 16)]
    assert slots(only(changed(INT8, memory_share=0.2), machine(141))) == [("cuda:0", 10)]
    assert "of cuda:0 it may take 7.0 GB" in (only(changed(INT8, memory_share=0.05), machine(141)).obstacle or "")


def test_engine_on_a_device_needs_room_in_the_machines_memory_too() -> None:
    placing = only(FP16, machine(141, host=1))

    assert (
        placing.obstacle
        == "fp16 needs about 1.5 GB of memory; the budget of all models is 1.0 GB (JETON_MEMORY_BUDGET)."
    )


def test_model_on_the_cpu_takes_nothing_of_a_device() -> None:
    (place,) = only(changed(INT8, devices=("cpu",)), machine(141)).places

    assert (place.device, place.slots, place.needed) == ("cpu", 16, {"cpu": 9 * GB})


# --- which devices ---


@pytest.mark.parametrize(
    ("devices", "default", "expected"),
    [
        ((), "auto", ["cuda:0", "cuda:1"]),
        ((), "cuda", ["cuda:0", "cuda:1"]),
        ((), "cuda:1", ["cuda:1"]),
        ((), "cpu", ["cpu"]),
        (("cuda",), "auto", ["cuda:0", "cuda:1"]),
        (("cuda:1",), "auto", ["cuda:1"]),
        (("cuda:1", "cuda"), "auto", ["cuda:1", "cuda:0"]),
        (("cuda:0", "cpu"), "auto", ["cuda:0", "cpu"]),
        (("cuda:0", "cuda:7"), "auto", ["cuda:0"]),
    ],
)
def test_entry_names_its_devices_or_the_machine_does(
    devices: tuple[str, ...], default: str, expected: list[str]
) -> None:
    placing = only(changed(STARTER, devices=devices), machine(24, 24, default=default))

    assert [place.device for place in placing.places] == expected


@pytest.mark.parametrize(
    ("devices", "where", "wanted"),
    [(("cuda:1",), machine(24), "cuda:1"), (("cuda",), machine(), "cuda"), ((), machine(default="cuda"), "cuda")],
)
def test_device_that_is_not_there_is_an_obstacle(devices: tuple[str, ...], where: Machine, wanted: str) -> None:
    placing = only(changed(STARTER, devices=devices), where)

    assert placing == Placing((), f"starter is to run on {wanted}, which is not among this machine's devices.")


# --- beside each other ---


def test_models_of_the_start_keep_their_memory_and_the_others_have_the_rest() -> None:
    placings = place_all([FP16, STARTER], machine(24))

    assert slots(placings["starter"]) == [("cuda:0", 16)]
    # 21.6 GB, of which the starter keeps 3.6: room for one generation, not two.
    assert slots(placings["fp16"]) == [("cuda:0", 1)]


def test_models_of_the_start_take_the_devices_in_their_order() -> None:
    first, second = changed(INT8, name="first", is_staying=True), changed(FP16, is_staying=True)

    placings = place_all([first, second], machine(24, 48))

    # The first is on both; of the larger device it has left the second one slot.
    assert slots(placings["first"]) == [("cuda:0", 6), ("cuda:1", 8)]
    assert slots(placings["fp16"]) == [("cuda:1", 1)]


def test_models_at_first_use_do_not_count_for_each_other() -> None:
    placings = place_all([FP16, INT8], machine(24))

    assert (slots(placings["fp16"]), slots(placings["int8"])) == ([("cuda:0", 2)], [("cuda:0", 6)])


def test_several_engines_of_a_model_share_the_room_of_each_device() -> None:
    placing = only(changed(INT8, engines=2, is_staying=True), machine(48))

    assert slots(placing) == [("cuda:0", 6), ("cuda:0", 6)]


def test_engines_that_stay_all_have_to_fit() -> None:
    assert "fp16 needs about 34.8 GB" in (only(changed(FP16, engines=2, is_staying=True), machine(24)).obstacle or "")
    # Of those that come at first use, one is enough to answer.
    assert slots(only(changed(FP16, engines=2), machine(24))) == [("cuda:0", 1), ("cuda:0", 1)]


def test_stated_memory_is_the_least_that_counts_on_a_device() -> None:
    (place,) = only(changed(STARTER, least_bytes=6 * GB), machine(24)).places
    assert (place.slots, place.device_bytes) == (16, 6 * GB)

    (place,) = only(changed(STARTER, least_bytes=GB), machine(24)).places
    assert place.device_bytes == 130 * 10**6 + 16 * 155 * 10**6 + GB


def test_what_others_keep_now_may_leave_no_room_where_there_was_some() -> None:
    where = machine(24, 24)
    places = only(FP16, where).places

    assert obstacle_of(FP16, places, where, kept={"cuda:0": 20 * GB}) is None
    both = obstacle_of(FP16, places, where, kept={"cuda:0": 20 * GB, "cuda:1": 19 * GB})
    assert both and "of cuda:1 it may take 21.6 GB, of which other models keep 19.0 GB" in both


def test_machine_without_bounds_has_room_for_everything() -> None:
    assert slots(only(changed(FP16, cpu_bytes=10**15), Machine())) == [("cpu", 16)]
