"""What a model takes and answers, as JSON schemas, from the very types that validate and are sent."""

from typing import Any

import msgspec
from msgspec import Struct

from webapp.catalog import CatalogEntry
from webapp.web.api.workers_ai.run_types import EmbeddingFields, EmbeddingResult, TextResult
from webapp.web.request_fields import GenerationFields

Schema = dict[str, Any]

_STREAM: Schema = {
    "type": "string",
    "contentType": "text/event-stream",
    "format": "binary",
    "description": "With stream: one `data:` line for each piece of text, then the usage, then [DONE].",
}


def input_schema(entry: CatalogEntry) -> Schema:
    """The body of a run of this model."""
    if entry.task == "text-embeddings":
        return _whole(EmbeddingFields)
    schema = _whole(GenerationFields)
    schema["properties"]["max_tokens"] = {
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": entry.sequence_length,
        "default": None,
    }
    names = [adapter.name for adapter in entry.adapters]
    schema["properties"]["lora"] = {"enum": [*names, None], "default": None}
    return schema | {"oneOf": [_only("prompt", "messages"), _only("messages", "prompt")]}


def output_schema(entry: CatalogEntry) -> Schema:
    """The result of a run of this model."""
    if entry.task == "text-embeddings":
        return _whole(EmbeddingResult)
    whole = _whole(TextResult)
    # References are read from the top.
    parts = whole.pop("$defs")
    return {"oneOf": [whole, _STREAM], "$defs": parts}


def _only(given: str, left_out: str) -> Schema:
    properties = {given: {"not": {"type": "null"}}, left_out: {"type": "null"}}
    return {"title": given.title(), "required": [given], "properties": properties}


def _whole(kind: type[Struct]) -> Schema:
    """The schema of one type, with all it refers to inside."""
    (reference,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema = parts.pop(reference["$ref"].rpartition("/")[2])
    return schema | ({"$defs": parts} if parts else {})
