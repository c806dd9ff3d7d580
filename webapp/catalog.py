"""The catalogue of models: `models.toml`, typed. Knows where weights lie, not how they are loaded.

Read by web processes, the pool and engines, so it imports nothing of theirs.
"""

import importlib.util
import os
import tomllib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

Precision = Literal["full", "fp32", "int8", "scripted"]


class CatalogError(Exception):
    """models.toml cannot be used; the message names the entry and the field."""


class ModelNotFound(Exception):
    """No entry of the catalogue has this name."""


class ModelNotInstalled(Exception):
    """The entry's weights are not on this machine, and nothing stands in. The message says how to install them."""


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """Where weights come from: a local `folder`, a `hub` repository, or a `file` inside an installed Python `package`.

    `scripted` needs none: the scripted engine answers.
    """

    folder: str | None = None
    hub: str | None = None
    package: str | None = None
    file: str | None = None
    scripted: bool = False


class CatalogEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model variant. `context_window` and `sequence_length` are the most tokens in and out."""

    name: str
    title: str
    description: str
    weights: Weights
    precision: Precision
    context_window: int
    sequence_length: int
    # Generations that run at once.
    slots: int
    # Engine processes of this model.
    engines: int = 1
    # The command that installs the weights, shown where they are missing.
    install: str = ""
    is_loaded_at_start: bool = False
    # The entry that answers where this one's weights are not installed.
    stand_in: str | None = None

    def weights_path(self) -> Path | None:
        """The folder or file that holds the weights; None where they are not installed."""
        weights = self.weights
        if weights.folder:
            path = Path(weights.folder).expanduser()
            return path if (path / "config.json").is_file() else None
        if weights.package and weights.file:
            spec = importlib.util.find_spec(weights.package)
            folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
            return next((path for folder in folders if (path := Path(folder) / weights.file).is_file()), None)
        if weights.hub:
            return _hub_snapshot(weights.hub)
        return None

    @property
    def missing_weights(self) -> str:
        """What to tell whoever asks for this model while its weights are not installed."""
        how = f" Install them with: {self.install}" if self.install else ""
        return f"The weights of {self.name} are not installed on this machine.{how}"

    @property
    def is_installed(self) -> bool:
        return self.weights.scripted or self.weights_path() is not None


class Catalog:
    """All entries, in the order of the file."""

    def __init__(self, entries: list[CatalogEntry], *, has_stand_ins: bool = True) -> None:
        self.entries = entries
        self._by_name = {entry.name: entry for entry in entries}
        self._has_stand_ins = has_stand_ins

    def find(self, name: str) -> CatalogEntry:
        """The entry of this name. Raises ModelNotFound."""
        try:
            return self._by_name[name]
        except KeyError:
            raise ModelNotFound(name) from None

    def serving(self, entry: CatalogEntry) -> CatalogEntry:
        """The entry whose engine answers for `entry`: itself or its stand-in. Raises ModelNotInstalled."""
        if entry.is_installed:
            return entry
        stand_in = self._by_name.get(entry.stand_in or "") if self._has_stand_ins else None
        if stand_in and stand_in.is_installed:
            return stand_in
        raise ModelNotInstalled(entry.missing_weights)


def read_catalog(path: Path, *, has_stand_ins: bool = True) -> Catalog:
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
    return Catalog(entries, has_stand_ins=has_stand_ins)


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
        if not entry.stand_in:
            continue
        stand_in = by_name.get(entry.stand_in)
        if stand_in is None:
            raise CatalogError(f"{entry.name} in {path}: stand_in names no model of the catalogue: {entry.stand_in}")
        if stand_in.context_window < entry.context_window or stand_in.sequence_length < entry.sequence_length:
            raise CatalogError(f"{entry.name} in {path}: its stand_in has smaller limits")


def _hub_snapshot(repository: str) -> Path | None:
    """The newest snapshot in the Hugging Face cache, by its documented layout; nothing is fetched."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    configs = sorted(snapshots.glob("*/config.json"), key=lambda config: config.stat().st_mtime)
    return configs[-1].parent if configs else None
