"""The vendored front-end files are the published ones: named, licensed, unchanged."""

import hashlib
import json
from pathlib import Path

import pytest

VENDOR = Path(__file__).parents[1] / "static" / "vendor"
PARTS = json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))
LISTED = [entry for part in PARTS for entry in (*part["files"], *part["licence_files"])]


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry["path"])
def test_vendored_file_is_the_published_one(entry: dict[str, str]) -> None:
    content = (VENDOR / entry["path"]).read_bytes()

    assert hashlib.sha256(content).hexdigest() == entry["sha256"]


def test_every_vendored_file_is_in_the_manifest() -> None:
    present = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}

    assert present - {"manifest.json"} == {entry["path"] for entry in LISTED}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part["name"])
def test_every_part_names_version_licence_and_package(part: dict[str, str]) -> None:
    assert part["version"] and part["licence"]
    assert part["package"].startswith("npm:") and part["package"].endswith(f"@{part['version']}")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part["name"])
def test_every_part_has_its_licence_text(part: dict[str, list[dict[str, str]]]) -> None:
    texts = [(VENDOR / entry["path"]).read_text(encoding="utf-8") for entry in part["licence_files"]]

    assert texts and all(len(text) > 400 for text in texts)
