"""A JSON schema as it is meant: an object's listed properties are all it has. Knows nothing of grammars."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

# Where a schema is put together of several, each part has to leave room for what the others list.
_COMBINING = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "$ref", "$dynamicRef", "dependentSchemas"))
# What says itself which other properties there may be, or how many.
_OPEN = frozenset(("additionalProperties", "unevaluatedProperties", "patternProperties", "minProperties"))
_SCHEMAS = ("items", "additionalProperties", "contains")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
# What is said to people only.
_REMARKS = frozenset(("description", "title", "$comment"))
# What lays other schemas over the one that it stands in.
_LAYERING = frozenset(("allOf", "anyOf", "oneOf", "$ref"))

# To compile a schema can take time that grows with the square of its size, and meanwhile no stream goes on. Measured
# with the worst of a hundred kinds: 0.28 s for so many characters without remarks, over 4 s for four times as many.
_MOST_CHARACTERS = 16_384
# Patterns that all have to fit one string; sixteen take for ever.
_MOST_LAYERED_PATTERNS = 4
# Each is compared with each.
_MOST_PATTERN_PROPERTIES = 16


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with `additionalProperties: false` wherever properties are listed and nothing is said of others.

    Whatever it allows, `schema` allows too. Without it a model may go on inventing properties to the end of its
    tokens; OpenAI's strict mode and most constrained decoders read schemas so. A schema that is put together of parts
    which each list some properties comes back as it is.
    """
    return schema if _is_combined(schema) else _closed(schema)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    result = dict(schema)
    for key, value in schema.items():
        if key in _SCHEMAS and isinstance(value, dict):
            result[key] = _closed(value)
        elif key in _LISTS and isinstance(value, list):
            result[key] = [_closed(one) if isinstance(one, dict) else one for one in value]
        elif key in _MAPS and isinstance(value, dict):
            result[key] = {name: _closed(one) if isinstance(one, dict) else one for name, one in value.items()}
    listed, required = schema.get("properties"), schema.get("required", [])
    is_listed = isinstance(listed, dict) and listed and isinstance(required, list)
    if is_listed and all(name in listed for name in required) and not _OPEN & schema.keys():
        result["additionalProperties"] = False
    return result


def _is_combined(value: object) -> bool:
    """Whether some object's properties are listed in more than one place."""
    if isinstance(value, list):
        return any(map(_is_combined, value))
    if not isinstance(value, dict):
        return False
    if "allOf" in value or ("properties" in value and _COMBINING & value.keys()):
        return True
    return any(map(_is_combined, value.values()))


def excess(schemas: Sequence[dict[str, Any]]) -> str | None:
    """Why these schemas together would take too long to compile; None where they would not. Raises RecursionError."""
    parts = [part for schema in schemas for part in _parts(schema)]
    remarks = sum(len(value) for part in parts for key in _REMARKS if isinstance(value := part.get(key), str))
    characters = len(json.dumps(schemas, separators=(",", ":"), ensure_ascii=False)) - remarks
    if characters > _MOST_CHARACTERS:
        return f"it has {characters} characters beside its descriptions, and at most {_MOST_CHARACTERS} are taken"
    patterns = {part["pattern"] for part in parts if isinstance(part.get("pattern"), str)}
    is_layered = any("allOf" in part or ("pattern" in part and _LAYERING & part.keys()) for part in parts)
    if is_layered and len(patterns) > _MOST_LAYERED_PATTERNS:
        return f"beside allOf at most {_MOST_LAYERED_PATTERNS} patterns are taken"
    named = sum(len(value) for part in parts if isinstance(value := part.get("patternProperties"), dict))
    if named > _MOST_PATTERN_PROPERTIES:
        return f"at most {_MOST_PATTERN_PROPERTIES} patternProperties are taken"
    return None


def _parts(value: object) -> Iterator[dict[str, Any]]:
    """All objects in a schema, itself the first."""
    if isinstance(value, dict):
        yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from _parts(child)
