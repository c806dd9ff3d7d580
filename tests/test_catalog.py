"""The catalogue: a file that cannot be used stops the start with a sentence, and the shipped one can be."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from webapp.catalog import Catalog, CatalogError, ModelNotFound, ModelNotInstalled, Weights, read_catalog

PROJECT_FOLDER = Path(__file__).parents[1]
GOOD = """
[[model]]
name = "@a/b"
title = "A"
description = ""
weights = { scripted = true }
precision = "scripted"
context_window = 100
sequence_length = 50
slots = 2
"""
BIG = GOOD.replace("@a/b", "@a/big").replace("{ scripted = true }", '{ folder = "/nonexistent" }')


def read(tmp_path: Path, text: str | bytes, *, has_stand_ins: bool = True) -> Catalog:
    path = tmp_path / "models.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_catalog(path, has_stand_ins=has_stand_ins)


def test_entries_keep_the_order_of_the_file_and_have_their_defaults(tmp_path: Path) -> None:
    catalog = read(tmp_path, GOOD + GOOD.replace("@a/b", "@a/a"))

    assert [entry.name for entry in catalog.entries] == ["@a/b", "@a/a"]
    assert (catalog.find("@a/b").engines, catalog.find("@a/b").is_loaded_at_start) == (1, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "model"),
        ("model = []", "names no model"),
        ("not toml", "not valid"),
        (b"\xff\xfe", "not valid"),
        ("model = 5", "not valid"),
        (GOOD + GOOD, "two models of one name"),
        (GOOD.replace("slots", "slot"), "slot"),
        (GOOD + "colour = 1", "colour"),
        (GOOD.replace('"scripted"', '"fp7"'), "precision"),
        (GOOD.replace("slots = 2", "slots = 0"), "@a/b"),
        (GOOD.replace("slots = 2", "slots = -1"), "@a/b"),
        (GOOD.replace("slots = 2", 'slots = "2"'), "slots"),
        (GOOD + "engines = 0", "engines"),
        (GOOD.replace("context_window = 100", "context_window = 0"), "context_window"),
        (GOOD + 'stand_in = "@no/such"', "@no/such"),
        (GOOD.replace("scripted = true", "hubb = 'x'"), "hubb"),
    ],
    ids=range(16),
)
def test_catalogue_that_cannot_be_used_says_why(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(CatalogError, match=says):
        read(tmp_path, text)


@pytest.mark.parametrize("path", ["missing.toml", "."])
def test_catalogue_that_cannot_be_read_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        read_catalog(tmp_path / path)


@pytest.mark.parametrize("limit", ["context_window = 101", "sequence_length = 51"])
def test_stand_in_has_no_smaller_limits_than_the_model_it_stands_in_for(tmp_path: Path, limit: str) -> None:
    name = limit.split(" ")[0]
    lines = [limit if line.startswith(name) else line for line in BIG.splitlines()]

    with pytest.raises(CatalogError, match="smaller limits"):
        read(tmp_path, GOOD + "\n".join(lines) + '\nstand_in = "@a/b"')


def test_stand_in_answers_unless_that_is_switched_off(tmp_path: Path) -> None:
    text = GOOD + BIG + 'stand_in = "@a/b"\ninstall = "fetch it"'

    catalog = read(tmp_path, text)
    assert catalog.serving(catalog.find("@a/big")) is catalog.find("@a/b")

    strict = read(tmp_path, text, has_stand_ins=False)
    with pytest.raises(ModelNotInstalled, match="fetch it"):
        strict.serving(strict.find("@a/big"))


def test_stand_in_whose_weights_are_missing_too_does_not_answer(tmp_path: Path) -> None:
    catalog = read(tmp_path, BIG + BIG.replace("@a/big", "@a/bigger") + 'stand_in = "@a/big"')

    with pytest.raises(ModelNotInstalled):
        catalog.serving(catalog.find("@a/bigger"))


def test_unknown_name_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        read(tmp_path, GOOD).find("@a/c")


# --- where weights lie ---


def with_weights(weights: Weights, tmp_path: Path) -> Path | None:
    return replace(read(tmp_path, GOOD).entries[0], weights=weights).weights_path()


def test_folder_needs_a_config_to_count(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    assert with_weights(Weights(folder=str(folder)), tmp_path) is None

    (folder / "config.json").write_text("{}")
    assert with_weights(Weights(folder=str(folder)), tmp_path) == folder


def test_newest_snapshot_of_the_hubs_cache_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    weights = Weights(hub="owner/name")
    assert with_weights(weights, tmp_path) is None

    for age, name in ((2, "old"), (1, "new")):
        snapshot = tmp_path / "models--owner--name" / "snapshots" / name
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        os.utime(snapshot / "config.json", (1000 - age, 1000 - age))

    assert with_weights(weights, tmp_path) == tmp_path / "models--owner--name" / "snapshots" / "new"


@pytest.mark.parametrize(
    ("package", "file", "is_found"),
    [("webapp", "catalog.py", True), ("webapp", "none.gguf", False), ("no_such_package", "x", False)],
)
def test_file_in_an_installed_package_is_found(tmp_path: Path, package: str, file: str, *, is_found: bool) -> None:
    assert (with_weights(Weights(package=package, file=file), tmp_path) is not None) is is_found


def test_model_without_any_place_for_its_weights_is_not_installed(tmp_path: Path) -> None:
    assert with_weights(Weights(), tmp_path) is None


# --- the shipped catalogue ---


def test_shipped_catalogue_states_the_published_limits() -> None:
    catalog = read_catalog(PROJECT_FOLDER / "models.toml")

    limits = {entry.name: (entry.context_window, entry.sequence_length) for entry in catalog.entries}
    assert limits["@cf/meta/llama-2-7b-chat-int8"] == (2048, 1800)
    assert limits["@cf/meta/llama-2-7b-chat-fp16"] == (3072, 2500)


def test_shipped_catalogue_has_a_stand_in_for_each_published_model_and_a_way_to_install_each() -> None:
    catalog = read_catalog(PROJECT_FOLDER / "models.toml")

    assert all(entry.install for entry in catalog.entries)
    assert all(entry.stand_in for entry in catalog.entries if entry.name.startswith("@cf/"))
    assert any(entry.is_loaded_at_start for entry in catalog.entries)
