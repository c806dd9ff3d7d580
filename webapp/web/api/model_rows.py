"""The catalogue's entries as Cloudflare's API shows models, tasks, authors and finetunes. Knows no route, no filter."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from webapp.catalog import Adapter, Catalog, CatalogEntry, ModelNotInstalled, ModelUnavailable, Task

# Of what has no file, and so no date.
_UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
# Cloudflare's numbers for where a model comes from: 2 for those of the Hugging Face hub, 1 for its own.
_HUB_SOURCE, _OTHER_SOURCE = 2, 1
# Ids have to stay what they are: they are made of names, within these.
_MODEL_IDS = uuid.UUID("0b0f4e9c-6d0c-4b6c-9a3e-3b7f0c1d5a11")
_AUTHOR_IDS = uuid.UUID("5f6f9f6a-0a3f-4a0e-8e38-5b8c0a4a9c22")
_FINETUNE_IDS = uuid.UUID("c4c2b8de-7a57-4a1c-b2c0-1f0d6c9e7b33")


class TaskRow(Struct, frozen=True):
    id: str
    name: str
    description: str


# Ids and names are Cloudflare's.
TASKS: dict[Task, TaskRow] = {
    "text-generation": TaskRow(
        "c329a1f9-323d-4e91-b2aa-582dd4188d34", "Text Generation", "Models that answer a prompt or a conversation."
    ),
    "text-embeddings": TaskRow(
        "0137cdcf-162a-4108-94f2-1ca59e8c65ee", "Text Embeddings", "Models that turn texts into vectors to compare."
    ),
}


class Property(Struct, frozen=True):
    """One fact about a model; Cloudflare says numbers and booleans as text."""

    property_id: str
    value: str


class ModelRow(Struct, frozen=True):
    id: str
    source: int
    name: str
    description: str
    task: TaskRow
    created_at: str
    tags: list[str]
    properties: list[Property]


def author_of(model: str) -> str:
    """Who has made a model, by its name: `meta` of `@cf/meta/llama-2-7b-chat-int8`."""
    first, _, rest = model.partition("/")
    return rest.partition("/")[0] if "/" in rest else first.removeprefix("@")


def created_at(entry: CatalogEntry) -> datetime:
    """When this machine got the model's weights; 1970 where it has none."""
    path = entry.weights_path()
    return _changed_at(path) if path else _UNKNOWN_TIME


def author_row(name: str) -> dict[str, str]:
    """An author as a search shows them."""
    return {"id": str(uuid.uuid5(_AUTHOR_IDS, name)), "name": name}


def row_of(catalog: Catalog, entry: CatalogEntry) -> ModelRow:
    """The entry as a search shows it."""
    return ModelRow(
        id=str(uuid.uuid5(_MODEL_IDS, entry.name)),
        source=_HUB_SOURCE if entry.name.startswith("@hf/") else _OTHER_SOURCE,
        name=entry.name,
        description=entry.description,
        task=TASKS[entry.task],
        created_at=created_at(entry).strftime("%Y-%m-%d %H:%M:%S.000"),
        tags=[],
        properties=[Property(name, value) for name, value in _properties(catalog, entry)],
    )


def finetune_of(entry: CatalogEntry, adapter: Adapter) -> dict[str, object]:
    """The adapter as a list of finetunes shows it."""
    changed_at = _changed_at(Path(adapter.folder).expanduser()).isoformat()
    return {
        "id": str(uuid.uuid5(_FINETUNE_IDS, f"{entry.name} {adapter.name}")),
        "model": entry.name,
        "name": adapter.name,
        "description": "",
        "created_at": changed_at,
        "modified_at": changed_at,
    }


def _properties(catalog: Catalog, entry: CatalogEntry) -> Iterable[tuple[str, str]]:
    is_text = entry.task == "text-generation"
    yield ("context_window" if is_text else "max_input_tokens"), str(entry.context_window)
    if is_text:
        # Cloudflare's catalogue and its first documentation have a name each.
        yield "max_output_tokens", str(entry.sequence_length)
        yield "sequence_length", str(entry.sequence_length)
    yield "precision", entry.precision
    if entry.adapters:
        yield "lora", "true"
    yield "installed", "true" if entry.is_installed else "false"
    try:
        serving = catalog.serving(entry)
    except (ModelNotInstalled, ModelUnavailable):
        return
    if serving is not entry:
        yield "stand_in", serving.name


def _changed_at(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(int(path.stat().st_mtime), tz=UTC)
    except OSError:
        return _UNKNOWN_TIME
