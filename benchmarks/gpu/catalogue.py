"""The catalogue that Jeton is measured with: one set of random weights, in several variants and limits."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.gpu.shape import Shape, Variant

# The limits that Cloudflare has published for its two variants of Llama-2 7B: tokens in, tokens out.
PUBLISHED = {"fp16": (3072, 2500), "int8": (2048, 1800)}
# Short texts, for many streams at once: at the published limits 64 of them would need 129 GB
# (int8) and 187 GB (fp16) for keys and values.
_SHORT = (640, 256)
_SHORT_SLOTS = 64
# As models.toml has it: eight streams, and the long prompt beside them.
_PUBLISHED_SLOTS = 16
_PRECISION = {"fp16": "full", "int8": "int8"}
# Of the device's memory; the rest is for its driver and for what a program takes besides weights and cache.
_SHARE = 0.85
_BESIDE_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Entry:
    """One entry. `outlier_threshold` is as in the catalogue; None leaves the default."""

    name: str
    variant: Variant
    context_window: int
    sequence_length: int
    slots: int
    outlier_threshold: float | None = None

    @property
    def positions(self) -> int:
        return self.context_window + self.sequence_length

    def needed_bytes(self, shape: Shape) -> int:
        """Of the device, for one engine."""
        return shape.bytes_held(self.variant) + _BESIDE_BYTES + self.slots * self.positions * shape.cache_bytes


def short_entry(variant: Variant, *, outlier_threshold: float | None = None) -> Entry:
    """For 1 to 64 streams of short texts."""
    name = f"@bench/{variant}-short"
    return Entry(name, variant, *_SHORT, slots=_SHORT_SLOTS, outlier_threshold=outlier_threshold)


def published_entry(variant: Variant) -> Entry:
    """With the published limits."""
    return Entry(f"@bench/{variant}", variant, *PUBLISHED[variant], slots=_PUBLISHED_SLOTS)


def fitted(entries: Sequence[Entry], shape: Shape, *, memory_bytes: int) -> list[Entry]:
    """The entries with as many slots as fit beside those before them; without those that have no place at all."""
    left = round(memory_bytes * _SHARE)
    found: list[Entry] = []
    for entry in entries:
        least = replace(entry, slots=1).needed_bytes(shape)
        if least > left:
            continue
        more = (left - least) // (entry.positions * shape.cache_bytes)
        found.append(replace(entry, slots=min(entry.slots, 1 + more)))
        left -= found[-1].needed_bytes(shape)
    return found


def write_catalog(entries: Sequence[Entry], weights: Path, folder: Path) -> Path:
    """The entries as a models.toml in `folder`."""
    path = folder / "models.toml"
    path.write_text("\n".join(_toml(entry, weights) for entry in entries), "utf-8")
    return path


def _toml(entry: Entry, weights: Path) -> str:
    lines = [
        "[[model]]",
        f'name = "{entry.name}"',
        f'title = "{entry.variant}"',
        'description = "Random weights, for the benchmark."',
        # What JSON writes of a string, TOML reads.
        f"weights = {{ folder = {json.dumps(str(weights), ensure_ascii=False)} }}",
        f'precision = "{_PRECISION[entry.variant]}"',
        f"context_window = {entry.context_window}",
        f"sequence_length = {entry.sequence_length}",
        f"slots = {entry.slots}",
        "is_loaded_at_start = true",
    ]
    if entry.outlier_threshold is not None:
        lines.append(f"outlier_threshold = {entry.outlier_threshold}")
    return "\n".join(lines) + "\n"
