"""What the catalogue's entries become in Cloudflare's shape: finetunes of their adapters, dates, poolings, authors."""

import json
import os
from pathlib import Path

import msgspec
import pytest
from flask import Response

from webapp.catalog import Adapter, Catalog, CatalogEntry, Weights
from webapp.web.api.model_rows import author_of
from webapp.web.api.workers_ai.model_schemas import input_schema
from webapp.web.api.workers_ai.model_search import ModelSearch
from webapp.web.api.workers_ai.pooling import pooling_of
from webapp.web.errors import InvalidFields


def entry_of(folder: Path, **changes: object) -> CatalogEntry:
    """An entry whose weights lie in the folder."""
    (folder / "config.json").write_text("{}")
    entry = CatalogEntry(
        name="@cf/ours/small",
        title="Small",
        description="A small one.",
        weights=Weights(folder=str(folder)),
        precision="full",
        context_window=100,
        sequence_length=50,
        slots=1,
    )
    return msgspec.structs.replace(entry, **changes)


def result(response: Response) -> list[dict]:
    return msgspec.json.decode(response.data)["result"]


@pytest.fixture
def search(tmp_path: Path) -> ModelSearch:
    adapters = [Adapter(name, str(tmp_path / name)) for name in ("pirate", "poet", "judge")]
    os.utime(tmp_path, (0, 1_700_000_000))
    (tmp_path / "poet").mkdir()
    os.utime(tmp_path / "poet", (0, 1_700_000_000))
    return ModelSearch(Catalog([entry_of(tmp_path, adapters=adapters)]))


def test_adapters_are_finetunes(search: ModelSearch) -> None:
    rows = result(search.finetunes())

    assert [row["name"] for row in rows] == ["pirate", "poet", "judge"]
    assert {row["model"] for row in rows} == {"@cf/ours/small"}
    assert len({row["id"] for row in rows}) == 3
    assert [row["created_at"][:10] for row in rows] == ["1970-01-01", "2023-11-14", "1970-01-01"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["pirate", "poet", "judge"]),
        ({"limit": "2"}, ["pirate", "poet"]),
        ({"limit": "2", "offset": "1", "orderBy": "name"}, ["poet", "judge"]),
        ({"offset": "3"}, []),
        ({"limit": "0"}, []),
    ],
    ids=str,
)
def test_public_finetunes_come_by_limit_and_offset(
    search: ModelSearch, query: dict[str, str], expected: list[str]
) -> None:
    rows = result(search.public_finetunes(query))

    assert [row["name"] for row in rows] == expected
    assert all(row["public"] for row in rows)


@pytest.mark.parametrize("query", [{"limit": "-1"}, {"offset": "inf"}, {"offset": "9" * 40}], ids=str)
def test_public_finetunes_refuse_other_numbers(search: ModelSearch, query: dict[str, str]) -> None:
    with pytest.raises(InvalidFields):
        search.public_finetunes(query)


def test_model_with_adapters_says_so_and_its_schema_names_them(search: ModelSearch, tmp_path: Path) -> None:
    (row,) = result(search.search({}))

    assert {"property_id": "lora", "value": "true"} in row["properties"]
    schema = input_schema(entry_of(tmp_path, adapters=[Adapter("pirate", "x")]))
    assert schema["properties"]["lora"]["enum"] == ["pirate", None]


def test_model_is_as_old_as_its_weights_here(tmp_path: Path) -> None:
    entry = entry_of(tmp_path)
    os.utime(tmp_path, (0, 1_700_000_000))

    (row,) = result(ModelSearch(Catalog([entry])).search({}))

    assert row["created_at"] == "2023-11-14 22:13:20.000"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, None),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, None),
        ({"pooling_mode_mean_tokens": "yes"}, None),
        (None, None),
    ],
    ids=str,
)
def test_pooling_is_what_the_models_files_say(tmp_path: Path, config: dict | None, expected: str | None) -> None:
    entry = entry_of(tmp_path, task="text-embeddings")
    if config is not None:
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))

    assert pooling_of(entry) == expected


def test_pooling_of_a_model_without_files_is_not_known(tmp_path: Path) -> None:
    assert pooling_of(entry_of(tmp_path, weights=Weights(scripted=True))) is None


@pytest.mark.parametrize(
    ("name", "author"),
    [
        ("@cf/meta/llama-2-7b-chat-int8", "meta"),
        ("@hf/huggingfacetb/smollm2-135m-instruct", "huggingfacetb"),
        ("@jeton/scripted", "jeton"),
        ("mine", "mine"),
        ("a/b/c/d", "b"),
    ],
)
def test_author_is_part_of_the_name(name: str, author: str) -> None:
    assert author_of(name) == author
