"""The lines of a start that say what goes where, before anything is loaded. Knows the catalogue, no process."""

from collections import Counter

from webapp.catalog import Catalog, CatalogEntry
from webapp.devices import CPU, Device
from webapp.memory import format_memory
from webapp.placement import Machine, Place

# What a driver keeps of a GPU for itself is no other program's: not worth a word.
_WORTH_SAYING_BYTES = 10**9


def plan_lines(catalog: Catalog) -> list[str]:
    """A line for each CUDA device, then what loads now and what at first use; one line where there is no device.

    Before them stands what is worth knowing of the machine's devices.
    """
    machine = catalog.machine
    if not machine.devices:
        return [*machine.remarks, _line_without_devices(machine)]
    lines = [*machine.remarks, *(_device_line(catalog, device) for device in machine.devices)]
    # Why the others cannot run is said when the start has settled.
    able = [entry for entry in catalog.entries if catalog.places(entry) and not catalog.obstacle(entry)]
    for what, is_at_start in (("Loads now", True), ("Loads at first use", False)):
        entries = [entry for entry in able if entry.is_loaded_at_start is is_at_start]
        lines += [f"{what}: {_entry_line(catalog, entry)}." for entry in entries]
    return lines


def _line_without_devices(machine: Machine) -> str:
    setting = f"JETON_DEVICE={machine.default}"
    if machine.default == "auto":
        return "No CUDA device: models run on the processor."
    return f"Models run on the processor ({setting})." if machine.default == CPU else f"No CUDA device for {setting}."


def _device_line(catalog: Catalog, device: Device) -> str:
    budget = catalog.machine.device_budget(device)
    line = (
        f"{device.name}: {device.title}, {format_memory(device.memory_bytes)}, "
        f"of which models may take {format_memory(budget)}."
    )
    if device.used_bytes < _WORTH_SAYING_BYTES:
        return line
    line += f" Other programs use {format_memory(device.used_bytes)} of it now"
    is_too_much = device.used_bytes > device.memory_bytes - budget
    return line + (": models may fail to load (JETON_GPU_MEMORY_SHARE leaves them more)." if is_too_much else ".")


def _entry_line(catalog: Catalog, entry: CatalogEntry) -> str:
    places = catalog.places(entry)
    counts = Counter(place.device for place in places)
    once = {place.device: place for place in places}
    return f"{entry.title} " + ", ".join(_place_text(place, counts[device]) for device, place in once.items())


def _place_text(place: Place, engines: int) -> str:
    slots = f"{place.slots} slots" if place.slots > 1 else "1 slot"
    times = f"{engines} times " if engines > 1 else ""
    return f"{times}on {place.device} ({slots}, {format_memory(place.device_bytes)})"
