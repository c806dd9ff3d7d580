"""A finished run as two files beside each other: its results as JSON, and the report that is made of them."""

from pathlib import Path
from typing import Protocol

import msgspec

from benchmarks import machine


class Found(Protocol):
    """What a run found, a msgspec struct: when, and on what."""

    date: str
    machine: dict[str, str]


def write_results(found: object, path: Path) -> None:
    """What a run found, as JSON that people can read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def write_report(found: Found, text: str, *, folder: Path, suffix: str) -> None:
    """Write both into `folder`, named by the day, the machine and `suffix`, and print the report."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{found.date}-{machine.slug(found.machine)}{suffix}"
    write_results(found, stem.with_suffix(".json"))
    stem.with_suffix(".md").write_text(text, "utf-8")
    print(f"\n{text}\nWritten to {stem}.md and .json")
