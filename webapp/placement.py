"""What goes where: on which devices each model may run, with how many slots, and what that takes of whose memory.

Plans with numbers alone. Knows no catalogue file, no driver and no process.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from webapp.devices import CPU, Device
from webapp.memory import format_memory

# Bytes by whose memory they are: a device's name, or "cpu" for the machine's own.
Amounts = Mapping[str, int]

# What torch does not count of a device's memory: CUDA's context, its kernels and libraries. An estimate.
CUDA_CONTEXT_BYTES = 500 * 10**6
# Activations of a prefill chunk, logits, workspaces of the libraries and captured graphs. An estimate.
CUDA_WORKSPACE_BYTES = 500 * 10**6
# What an engine on a CUDA device has resident in the machine's own memory: CUDA's libraries above all. An estimate.
CUDA_HOST_BYTES = 1500 * 10**6


@dataclass(frozen=True)
class Machine:
    """The memory that engines may take, and where. A `host_budget` of None is no bound.

    `device_share` is the part of each device's memory that all engines on it may take. `default` is where an entry
    runs that does not say: "auto" (every CUDA device, else the processor), "cpu", "cuda", or one device. `remarks` are
    sentences that whoever starts Jeton should read.
    """

    host_budget: int | None = None
    devices: tuple[Device, ...] = ()
    device_share: float = 0.9
    default: str = "auto"
    remarks: tuple[str, ...] = ()

    @property
    def budgets(self) -> dict[str, int | None]:
        """What all engines may take together of each memory."""
        return {CPU: self.host_budget} | {device.name: self.device_budget(device) for device in self.devices}

    def device_budget(self, device: Device) -> int:
        return round(device.memory_bytes * self.device_share)

    def room(self, taken: Amounts) -> dict[str, float]:
        """What is left of each memory where so much is taken."""
        return {
            name: (math.inf if budget is None else budget) - taken.get(name, 0) for name, budget in self.budgets.items()
        }


@dataclass(frozen=True)
class Place:
    """Where an engine runs, with how many slots, and what it takes of whose memory."""

    device: str
    slots: int
    needed: Amounts

    @property
    def device_bytes(self) -> int:
        """What it takes of its own device's memory."""
        return self.needed.get(self.device, 0)


@dataclass(frozen=True)
class Demand:
    """What a model asks for. Bytes are one engine's, `slot_bytes` one generation's of full length on a CUDA device.

    `devices` are names, "cuda" for all CUDA devices, empty for the machine's default. `engines` go to each device.
    One that stays starts with Jeton and keeps its memory. On a CUDA device an engine takes at least `least_bytes`,
    and at most `memory_share` of the device's memory.
    """

    name: str
    slots: int
    cpu_bytes: int
    devices: tuple[str, ...] = ()
    engines: int = 1
    is_staying: bool = False
    weight_bytes: int = 0
    slot_bytes: int = 0
    least_bytes: int = 0
    beside_bytes: int = CUDA_HOST_BYTES
    memory_share: float = 1.0

    @property
    def together(self) -> int:
        """How many engines of one device have to have room: all that stay; of others one is enough to answer."""
        return self.engines if self.is_staying else 1


@dataclass(frozen=True)
class Placing:
    """Where a model's engines go. With an `obstacle`, a sentence, none can run: the places are those that lack room."""

    places: tuple[Place, ...]
    obstacle: str | None = None


def place_all(demands: Iterable[Demand], machine: Machine) -> dict[str, Placing]:
    """Where all models go: those that stay in their order, the others beside them.

    Those that stay first have one slot each, as far as there is room, so that the first does not take all of it.
    """
    demands = list(demands)
    staying = [demand for demand in demands if demand.is_staying]
    placings: dict[str, Placing] = {}
    for demand in staying:
        placings[demand.name] = _place(replace(demand, slots=1), machine, _kept(placings.values()))
    for demand in staying:
        others = _kept(placing for name, placing in placings.items() if name != demand.name)
        if not placings[demand.name].obstacle:
            devices = tuple(dict.fromkeys(place.device for place in placings[demand.name].places))
            placings[demand.name] = _place(replace(demand, devices=devices), machine, others)
    kept = _kept(placings.values())
    return placings | {demand.name: _place(demand, machine, kept) for demand in demands if not demand.is_staying}


def obstacle_of(demand: Demand, places: Iterable[Place], machine: Machine, *, kept: Amounts) -> str | None:
    """Why at none of these places there is room for the model beside what others keep; None where there is."""
    places = list(places)
    room = machine.room(kept)
    if not places or any(_fits(place, demand, machine, room) for place in places):
        return None
    roomiest = max(places, key=lambda place: room.get(place.device, 0.0))
    return _lack(demand, roomiest, machine, kept=kept)


def _place(demand: Demand, machine: Machine, kept: Amounts) -> Placing:
    names = _candidates(demand, machine)
    if not names:
        wanted = ", ".join(demand.devices) or machine.default
        return Placing((), f"{demand.name} is to run on {wanted}, which is not among this machine's devices.")
    taken = Counter(kept)
    fitting: list[Place] = []
    lacking: list[Place] = []
    for name in names:
        room = machine.room(taken)
        place = _place_on(name, demand, machine, room)
        if not _fits(place, demand, machine, room):
            lacking.append(place)
            continue
        fitting += [place] * demand.engines
        if demand.is_staying:
            taken.update(_total([place] * demand.engines))
    if fitting:
        return Placing(tuple(fitting))
    return Placing(tuple(lacking), obstacle_of(demand, lacking, machine, kept=kept))


def _candidates(demand: Demand, machine: Machine) -> list[str]:
    """The devices of this machine on which the model may run, each once."""
    cuda = [device.name for device in machine.devices]
    if demand.devices:
        wanted = demand.devices
    else:
        wanted = ("cuda" if cuda else CPU,) if machine.default == "auto" else (machine.default,)
    names = [name for each in wanted for name in (cuda if each == "cuda" else [each])]
    return [name for name in dict.fromkeys(names) if name in machine.budgets]


def _place_on(name: str, demand: Demand, machine: Machine, room: Mapping[str, float]) -> Place:
    """The place on one device with as many slots as there is room for, and one at least."""
    if name == CPU:
        return Place(CPU, demand.slots, {CPU: demand.cpu_bytes})
    fixed = demand.weight_bytes + (CUDA_CONTEXT_BYTES + CUDA_WORKSPACE_BYTES if demand.weight_bytes else 0)
    most = min(room[name] / demand.engines, _share(name, demand, machine))
    fitting = (most - fixed) // demand.slot_bytes if demand.slot_bytes else demand.slots
    slots = max(1, min(demand.slots, int(fitting)))
    device_bytes = max(fixed + slots * demand.slot_bytes, demand.least_bytes)
    return Place(name, slots, {name: device_bytes, CPU: demand.beside_bytes})


def _fits(place: Place, demand: Demand, machine: Machine, room: Mapping[str, float]) -> bool:
    if place.device_bytes > _share(place.device, demand, machine):
        return False
    return all(size * demand.together <= room[name] for name, size in place.needed.items())


def _share(name: str, demand: Demand, machine: Machine) -> float:
    """What one engine of the model may take of a memory."""
    sizes = {device.name: device.memory_bytes for device in machine.devices}
    return sizes[name] * demand.memory_share if name in sizes else math.inf


def _lack(demand: Demand, place: Place, machine: Machine, *, kept: Amounts) -> str:
    host_bytes = place.needed[CPU] * demand.together
    if host_bytes > machine.room(kept)[CPU]:
        budget = format_memory(machine.host_budget or 0)
        if kept.get(CPU):
            budget = f"{budget}, of which other models keep {format_memory(kept[CPU])}"
        return (
            f"{demand.name} needs about {format_memory(host_bytes)} of memory; the budget of all models is "
            f"{budget} (JETON_MEMORY_BUDGET)."
        )
    needed = format_memory(place.device_bytes * demand.together)
    budget = format_memory(round(min(machine.budgets[place.device] or 0, _share(place.device, demand, machine))))
    if kept.get(place.device):
        budget = f"{budget}, of which other models keep {format_memory(kept[place.device])}"
    return (
        f"{demand.name} needs about {needed} of a CUDA device's memory for one generation at a time; of "
        f"{place.device} it may take {budget} (memory_share, JETON_GPU_MEMORY_SHARE)."
    )


def _kept(placings: Iterable[Placing]) -> Counter[str]:
    """What models keep that have a place."""
    kept = Counter[str]()
    for placing in placings:
        if not placing.obstacle:
            kept.update(_total(placing.places))
    return kept


def _total(places: Iterable[Place]) -> Counter[str]:
    total = Counter[str]()
    for place in places:
        total.update(place.needed)
    return total
