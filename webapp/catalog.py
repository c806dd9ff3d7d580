"""The catalogue of models: `models.toml`, typed. Knows where weights lie, not how they are loaded.

Read by web processes, the pool and engines, so it imports nothing of theirs.
"""

import re
import tomllib
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from webapp.devices import CPU
from webapp.memory import parse_memory
from webapp.model_sizes import ModelSize, model_size
from webapp.placement import CUDA_HOST_BYTES, Amounts, Demand, Machine, Place, Placing, obstacle_of, place_all
from webapp.weight_files import (
    count_weights,
    folder_revision,
    hub_snapshot,
    package_revision,
    paths_in_package,
    snapshot_revision,
)

Task = Literal["text-generation", "text-embeddings"]
Precision = Literal["full", "fp32", "int8", "int4", "scripted"]

# Bytes that a weight takes in memory: int8 and int4 keep some tensors, such as the embeddings, in 16 bits.
_BYTES_PER_WEIGHT: dict[Precision, float] = {"full": 2.0, "fp32": 4.0, "int8": 1.25, "int4": 0.8, "scripted": 0.0}
# What an engine takes besides: the libraries, work space and the first of its cache. Measured with the starter
# model on a CPU: 0.62 GB in bf16, 0.64 GB in int8.
ENGINE_BYTES = 700 * 10**6
_SCRIPTED_ENGINE_BYTES = 60 * 10**6


class CatalogError(Exception):
    """models.toml cannot be used; the message names the entry and the field."""


class ModelNotFound(Exception):
    """No entry of the catalogue has this name."""


class ModelNotInstalled(Exception):
    """The entry's weights are not on this machine, and nothing stands in. The message says how to install them."""


class ModelUnavailable(Exception):
    """The entry cannot run on this machine. The message says why."""


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """Where weights come from: a local `folder`, a `hub` repository, or an installed Python `package`.

    Of a package, `file` is one inside it, or `folder` a folder inside it.
    `scripted` needs none: the scripted engine answers, after `load_seconds`. `remote`: they are where the engines are,
    which join from other machines.
    """

    folder: str | None = None
    hub: str | None = None
    package: str | None = None
    file: str | None = None
    scripted: bool = False
    remote: bool = False
    load_seconds: Annotated[float, Meta(ge=0)] = 0.0


class Adapter(Struct, frozen=True, forbid_unknown_fields=True):
    """A LoRA adapter of a model, by the name that requests give: a `folder` as peft writes it."""

    name: str
    folder: str


class CatalogEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One model variant. `context_window` and `sequence_length` are the most tokens in and out.

    Whether its weights are installed and what it needs is found out once, so that all who ask hear the same.
    """

    name: str
    title: str
    description: str
    weights: Weights
    precision: Precision
    # How int8 is computed: without a threshold the inputs of a layer stay in 16 bits; 0 rounds them to 8 bits, and
    # above it bitsandbytes keeps what is larger in 16.
    outlier_threshold: Annotated[float, Meta(ge=0)] | None = None
    context_window: int
    sequence_length: int
    # Generations that run at once.
    slots: int
    # Engine processes of this model, on each of its devices.
    engines: int = 1
    # Where they run: "cuda:0", "cuda" for all CUDA devices, "cpu". Without any: on all CUDA devices, else on the CPU.
    devices: list[str] = []
    # The part of a CUDA device's memory that one engine may take; its slots are as many as fit.
    memory_share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    # What one engine takes, such as "1.2 GB"; estimated where it is not said, and at least this on a CUDA device.
    memory: str | None = None
    # The command that installs the weights, shown where they are missing.
    install: str = ""
    is_loaded_at_start: bool = False
    # What it does: text from a prompt, or vectors from texts.
    task: Task = "text-generation"
    # LoRA adapters, each of which a request may ask for. They need a precision that transformers runs, not int4.
    adapters: list[Adapter] = []
    # A file with a chat template (Jinja2, as transformers has it) in place of the one that comes with the weights.
    chat_template: str | None = None
    # The entry that answers where this one's weights are not installed.
    stand_in: str | None = None

    def weights_path(self) -> Path | None:
        """The folder or file that holds the weights; None where they are not installed."""
        weights = self.weights
        if weights.package and weights.file:
            return next((path for path in paths_in_package(weights.package, weights.file) if path.is_file()), None)
        if weights.folder:
            name = weights.folder
            paths = paths_in_package(weights.package, name) if weights.package else [Path(name).expanduser()]
            return next((path for path in paths if (path / "config.json").is_file()), None)
        if weights.hub:
            return hub_snapshot(weights.hub)
        return None

    @property
    def missing_weights(self) -> str:
        """What to tell whoever asks for this model while its weights are not installed."""
        how = f" Install them with: {self.install}" if self.install else ""
        return f"The weights of {self.name} are not installed on this machine.{how}"

    @cached_property
    def is_installed(self) -> bool:
        return self.weights.scripted or self.weights.remote or self.weights_path() is not None

    @cached_property
    def weights_revision(self) -> str:
        """Which weights these are, as far as their source tells; empty where they are not on this machine."""
        weights, path = self.weights, self.weights_path()
        if weights.scripted:
            return "scripted"
        if path is None:
            return ""
        if weights.package:
            return package_revision(weights.package, weights.file or weights.folder or "")
        return snapshot_revision(weights.hub, path) if weights.hub else folder_revision(path)

    @cached_property
    def needed_bytes(self) -> int:
        """The memory that one engine takes on the CPU, as the catalogue says or by a rough estimate of its weights."""
        if self.weights.remote:
            return 0
        if self.memory:
            return parse_memory(self.memory)
        if self.weights.scripted:
            return _SCRIPTED_ENGINE_BYTES
        path = self.weights_path()
        weights = count_weights(path) if path else 0
        return ENGINE_BYTES + round(weights * _BYTES_PER_WEIGHT[self.precision]) + self._adapter_bytes

    @cached_property
    def demand(self) -> Demand:
        """What its engines ask of this machine."""
        size = self._size_on_cuda
        return Demand(
            name=self.name,
            slots=self.slots,
            cpu_bytes=self.needed_bytes,
            devices=tuple(self.devices),
            engines=self.engines,
            is_staying=self.is_loaded_at_start,
            weight_bytes=size.weight_bytes,
            slot_bytes=size.slot_bytes,
            least_bytes=parse_memory(self.memory) if self.memory else 0,
            beside_bytes=_SCRIPTED_ENGINE_BYTES if self.weights.scripted else CUDA_HOST_BYTES,
            memory_share=self.memory_share,
        )

    @property
    def place_on_cpu(self) -> Place:
        """Where it runs on a machine without CUDA devices."""
        return Place(CPU, self.slots, {CPU: self.needed_bytes})

    @cached_property
    def _size_on_cuda(self) -> ModelSize:
        path = self.weights_path()
        if self.weights.scripted or path is None:
            return ModelSize(0, 0)
        # Models that make embeddings keep nothing between two requests.
        positions = self.context_window + self.sequence_length if self.task == "text-generation" else 0
        size = model_size(path, precision=self.precision, positions=positions)
        return ModelSize(size.weight_bytes + self._adapter_bytes, size.slot_bytes)

    @property
    def _adapter_bytes(self) -> int:
        # peft keeps adapters in the precision of the layers they change, whatever int8 makes of those.
        weights = sum(count_weights(Path(adapter.folder).expanduser()) for adapter in self.adapters)
        return round(weights * max(2.0, _BYTES_PER_WEIGHT[self.precision]))


class Catalog:
    """All entries, in the order of the file. `machine` is what engines may use; without it nothing is bounded.

    What this machine can run is found out here: weights that are installed later count from the next start on.
    """

    def __init__(
        self, entries: list[CatalogEntry], *, has_stand_ins: bool = True, machine: Machine | None = None
    ) -> None:
        self.entries = entries
        self.machine = machine or Machine()
        self._by_name = {entry.name: entry for entry in entries}
        self._has_stand_ins = has_stand_ins
        able = [entry for entry in entries if _runs_here(entry) and not _missing_library(entry)]
        self._placings = place_all([entry.demand for entry in able], self.machine)
        self._obstacles = {entry.name: self._find_obstacle(entry) for entry in entries}

    def find(self, name: str) -> CatalogEntry:
        """The entry of this name. Raises ModelNotFound."""
        try:
            return self._by_name[name]
        except KeyError:
            raise ModelNotFound(name) from None

    def title_of(self, name: str) -> str:
        """What an entry is called; its name where it is no longer here, of which a generation of before may speak."""
        entry = self._by_name.get(name)
        return entry.title if entry else name

    def serving(self, entry: CatalogEntry) -> CatalogEntry:
        """The entry whose engine answers for `entry`: itself or its stand-in.

        Raises ModelNotInstalled, and ModelUnavailable where its weights are installed and it cannot run.
        """
        if entry.is_installed:
            if obstacle := self.obstacle(entry):
                raise ModelUnavailable(obstacle)
            return entry
        stand_in = self._by_name.get(entry.stand_in or "") if self._has_stand_ins else None
        if stand_in and not self.obstacle(stand_in):
            return stand_in
        raise ModelNotInstalled(entry.missing_weights)

    def obstacle(self, entry: CatalogEntry) -> str | None:
        """Why this machine cannot run `entry`, in a sentence; None where it can."""
        return self._obstacles[entry.name]

    def places(self, entry: CatalogEntry) -> tuple[Place, ...]:
        """Where this machine's engines of `entry` go; where no device has room for it, those that lack it."""
        return self._placings.get(entry.name, Placing(())).places

    def memory_obstacle(self, entry: CatalogEntry, *, kept: Amounts) -> str | None:
        """Why no device has room for `entry` where others keep so much; None where one has."""
        return obstacle_of(entry.demand, self.places(entry), self.machine, kept=kept)

    @property
    def at_start(self) -> list[CatalogEntry]:
        """The entries whose engines start with Jeton, and then stay."""
        return [entry for entry in self.entries if entry.is_loaded_at_start and not self.obstacle(entry)]

    @property
    def start_obstacles(self) -> list[str]:
        """Why entries that are to start with Jeton, and whose weights are installed, cannot; empty where all can."""
        installed = [entry for entry in self.entries if entry.is_loaded_at_start and entry.is_installed]
        return [obstacle for entry in installed if (obstacle := self.obstacle(entry))]

    def _find_obstacle(self, entry: CatalogEntry) -> str | None:
        if not entry.is_installed:
            return entry.missing_weights
        return _missing_library(entry) or self._placings.get(entry.name, Placing(())).obstacle


def read_catalog(path: Path, *, has_stand_ins: bool = True, machine: Machine | None = None) -> Catalog:
    """The catalogue in a TOML file. Raises CatalogError."""

    class _File(Struct, forbid_unknown_fields=True):
        model: list[CatalogEntry]

    try:
        entries = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).model
    except OSError as error:
        raise CatalogError(f"the catalogue {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise CatalogError(f"the catalogue {path} is not valid: {error}") from error
    _check(entries, path)
    return Catalog(entries, has_stand_ins=has_stand_ins, machine=machine)


def _check(entries: list[CatalogEntry], path: Path) -> None:
    if not entries:
        raise CatalogError(f"the catalogue {path} names no model")
    by_name = {entry.name: entry for entry in entries}
    if len(by_name) < len(entries):
        raise CatalogError(f"the catalogue {path} has two models of one name")
    for entry in entries:
        if min(entry.context_window, entry.sequence_length, entry.slots, entry.engines) < 1:
            raise CatalogError(
                f"{entry.name} in {path}: context_window, sequence_length, slots, engines are at least 1"
            )
        if entry.memory is not None:
            try:
                parse_memory(entry.memory)
            except ValueError as error:
                raise CatalogError(f"{entry.name} in {path}: memory {error}") from None
        if fault := _fault(entry):
            raise CatalogError(f"{entry.name} in {path}: {fault}")
        if not entry.stand_in:
            continue
        stand_in = by_name.get(entry.stand_in)
        if stand_in is None:
            raise CatalogError(f"{entry.name} in {path}: stand_in names no model of the catalogue: {entry.stand_in}")
        if stand_in.context_window < entry.context_window or stand_in.sequence_length < entry.sequence_length:
            raise CatalogError(f"{entry.name} in {path}: its stand_in has smaller limits")
        if stand_in.task != entry.task:
            raise CatalogError(f"{entry.name} in {path}: its stand_in has another task")


def _fault(entry: CatalogEntry) -> str | None:
    """What of an entry's devices is none, or what of its task, precision and adapters cannot be together; else None."""
    for device in entry.devices:
        if not re.fullmatch(r"cpu|cuda(:[0-9]{1,2})?", device):
            return f"devices are cpu, cuda or cuda:N, not {device!r}"
    if entry.outlier_threshold is not None and entry.precision != "int8":
        return "outlier_threshold is of int8"
    if entry.task == "text-embeddings" and entry.precision == "int4":
        return "models that make embeddings run in full, fp32 or int8, not in int4"
    if not entry.adapters:
        return None
    if entry.task == "text-embeddings":
        return "models that make embeddings take no adapters"
    if entry.precision == "int4":
        return "adapters need a precision that transformers runs: full, fp32 or int8, not int4"
    if len({adapter.name for adapter in entry.adapters}) < len(entry.adapters):
        return "two of its adapters have one name"
    return None


def _runs_here(entry: CatalogEntry) -> bool:
    return entry.is_installed and not entry.weights.remote


def _missing_library(entry: CatalogEntry) -> str | None:
    if entry.weights.scripted or entry.weights.remote:
        return None
    if entry.precision == "int8" and not find_spec("bitsandbytes"):
        return f"{entry.name} runs in int8 by bitsandbytes, which is not installed on this machine."
    if entry.adapters and not find_spec("peft"):
        return f"{entry.name} has adapters, which peft loads, and that is not installed on this machine."
    return None
