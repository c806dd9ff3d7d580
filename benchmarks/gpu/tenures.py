"""Who has the device when: contenders one after the other, each with all that is measured of it while it has it.

Loading 7 billion weights takes longer than most measurements: nobody is loaded twice for what fits together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.contenders.contender import Contender
from benchmarks.gpu.catalogue import Entry, fitted, published_entry, short_entry
from benchmarks.gpu.contenders import DeviceEngine, DeviceServe, DeviceServer, batching_manager, plain_generate
from benchmarks.gpu.place import Place
from benchmarks.gpu.plan import Load, Scale
from benchmarks.gpu.results import DeviceFacts
from benchmarks.gpu.shape import Shape, Variant
from benchmarks.prompts import PromptMaker

# What changes how int8 is computed, beside the default: thresholds of LLM.int8 (docs/decisions/0016-int8.md).
_THRESHOLDS = (0.0, 6.0)
# JETON_CUDA_GRAPHS, and how it is called here; the default is compiled and captured.
_GRAPHS = {"plain": "graphs, not compiled", "off": "no graphs"}
VARIANTS: tuple[Variant, ...] = ("fp16", "int8")

Kind = Literal["engine", "server", "peer"]


@dataclass
class Tenure:
    """One contender's time on the device. `limits` has a load of the published limits for each such entry."""

    name: str
    kind: Kind
    variant: Variant
    make: Callable[[], Contender]
    loads: list[Load]
    entry: Entry | None = None
    limits: list[tuple[Entry, Load]] = field(default_factory=list)
    way: str = ""
    wants_quality: bool = False
    seconds: float = 0.0
    # Whose turn it is where this one does not start.
    stand_in: "Tenure | None" = None

    @property
    def is_ours(self) -> bool:
        return self.kind != "peer"


@dataclass(frozen=True)
class Setting:
    """All that tenures are made of."""

    place: Place
    device: DeviceFacts
    shape: Shape
    weights: Path
    scale: Scale
    prompt_maker: PromptMaker
    parts: Sequence[str]
    variants: Sequence[str]
    # What the device holds; of the processor's memory no engine here takes much.
    memory_bytes: int


def planned(setting: Setting) -> tuple[list[Tenure], list[str]]:
    """Those of the wanted parts, the most telling first; and what cannot be measured here, in a line each."""
    left_out: list[str] = []
    found: list[Tenure] = []
    if "int8" in setting.variants and (missing := _missing_for("int8", setting)):
        left_out.append(f"int8: {', '.join(missing)} is not installed")
    ways = _ways(setting, left_out) if "ways" in setting.parts else []
    if "engine" in setting.parts or ways:
        found += _engines(setting, left_out, wants_quality=bool(ways))
    if "peers" in setting.parts:
        found.append(_batching_peer(setting, left_out))
    if {"server", "limits"} & set(setting.parts):
        found += _servers(setting, left_out)
    if "generate" in setting.parts:
        found.append(_generate(setting))
    known = {tenure.name for tenure in found}
    return found + [tenure for tenure in ways if tenure.name not in known], left_out


def _variants(setting: Setting) -> list[Variant]:
    return [variant for variant in VARIANTS if variant in setting.variants and not _missing_for(variant, setting)]


def _missing_for(variant: Variant, setting: Setting) -> list[str]:
    return setting.device.missing_for_int8 if variant == "int8" else []


def _engines(setting: Setting, left_out: list[str], *, wants_quality: bool) -> list[Tenure]:
    entries = map(short_entry, _variants(setting))
    engines = [_engine(setting, left_out, entry, wants_quality=wants_quality) for entry in entries]
    return [tenure for tenure in engines if tenure]


def _ways(setting: Setting, left_out: list[str]) -> list[Tenure]:
    """The other ways of int8, and each way without graphs where there are any."""
    if "int8" not in _variants(setting):
        return []
    entries = [short_entry("int8", outlier_threshold=threshold) for threshold in _THRESHOLDS]
    ways = [_engine(setting, left_out, entry, wants_quality=True) for entry in entries]
    if setting.place.is_cuda:
        # The last has no graphs in any case: the outliers of a layer are found by asking the device.
        others = [short_entry("fp16"), short_entry("int8"), *entries[:1]]
        ways += [_engine(setting, left_out, entry, graphs=graphs) for graphs in _GRAPHS for entry in others]
    return [tenure for tenure in ways if tenure]


def _engine(
    setting: Setting, left_out: list[str], entry: Entry, *, graphs: str = "", wants_quality: bool = False
) -> Tenure | None:
    threshold = entry.outlier_threshold
    name = f"engine-{entry.variant}" + ("" if threshold is None else f"-{threshold:g}")
    way = "" if threshold is None else f"LLM.int8, threshold {threshold:g}"
    if graphs:
        name, way = f"{name}-{graphs}", ", ".join(filter(None, (way, _GRAPHS[graphs])))
    found = _fitted(setting, left_out, [entry], name)
    if not found:
        return None
    entry = found[0]
    title = f"Jeton, engine alone, {entry.variant}" + (f" ({way})" if way else "")
    settings = {"JETON_CUDA_GRAPHS": graphs} if graphs else {}
    return Tenure(
        name,
        "engine",
        entry.variant,
        lambda: DeviceEngine(name, setting.place, entry, setting.weights, title=title, settings=settings),
        loads=_loads_for(setting, left_out, entry, name),
        entry=entry,
        way=way,
        wants_quality=wants_quality,
        seconds=setting.scale.load_seconds,
    )


def _servers(setting: Setting, left_out: list[str]) -> list[Tenure]:
    return [tenure for variant in _variants(setting) if (tenure := _server(setting, left_out, variant))]


def _server(setting: Setting, left_out: list[str], variant: Variant) -> Tenure | None:
    name = f"server-{variant}"
    wanted = [short_entry(variant)] if "server" in setting.parts else []
    wanted += [published_entry(variant)] if "limits" in setting.parts else []
    entries = _fitted(setting, left_out, wanted, name)
    if not entries:
        return None
    short = next((entry for entry in entries if entry.name == short_entry(variant).name), None)
    limits = [(entry, setting.scale.limit_load(variant)) for entry in entries if entry is not short]
    return Tenure(
        name,
        "server",
        variant,
        lambda: DeviceServer(
            name,
            setting.place,
            entries,
            setting.weights,
            title=f"**Jeton**, server, {variant}",
            prompt_maker=setting.prompt_maker,
        ),
        loads=_loads_for(setting, left_out, short, name) if short else [],
        entry=short,
        limits=limits,
        seconds=setting.scale.load_seconds * bool(short) + setting.scale.limit_seconds * len(limits),
    )


def _batching_peer(setting: Setting, left_out: list[str]) -> Tenure:
    place, weights, dtype = setting.place, setting.weights, setting.device.dtype
    missing = setting.device.missing_for_serve
    loads = setting.scale.short_loads()
    seconds = setting.scale.load_seconds
    manager = Tenure(
        "batching-manager",
        "peer",
        "fp16",
        lambda: batching_manager(place, weights, dtype=dtype),
        loads=loads,
        seconds=seconds,
    )
    if missing:
        left_out.append(
            f"`transformers serve`: {', '.join(missing)} not installed; its ContinuousBatchingManager is measured"
        )
        return manager
    return Tenure(
        "transformers-serve",
        "peer",
        "fp16",
        lambda: DeviceServe(place, weights, dtype=dtype, prompt_maker=setting.prompt_maker),
        loads=loads,
        seconds=seconds,
        stand_in=manager,
    )


def _generate(setting: Setting) -> Tenure:
    # With more streams its threads only wait for each other.
    return Tenure(
        "generate",
        "peer",
        "fp16",
        lambda: plain_generate(setting.place, setting.weights, dtype=setting.device.dtype),
        loads=setting.scale.short_loads()[:2],
        seconds=setting.scale.load_seconds * 2,
    )


def _fitted(setting: Setting, left_out: list[str], wanted: list[Entry], name: str) -> list[Entry]:
    found = fitted(wanted, setting.shape, memory_bytes=setting.memory_bytes)
    kept = {entry.name: entry.slots for entry in found}
    for entry in wanted:
        if entry.name not in kept:
            left_out.append(f"{name}, {entry.name}: it does not fit in the device's memory")
        elif kept[entry.name] < entry.slots:
            left_out.append(f"{name}, {entry.name}: {kept[entry.name]} instead of {entry.slots} slots fit")
    return found


def _loads_for(setting: Setting, left_out: list[str], entry: Entry, name: str) -> list[Load]:
    loads = setting.scale.short_loads()
    fitting = [load for load in loads if load.streams <= entry.slots]
    left_out += [f"{name}, {load.name}: only {entry.slots} slots fit" for load in loads if load not in fitting]
    return fitting
