"""A JSON schema as it is meant: an object's listed properties are all it has. Knows nothing of grammars."""

from typing import Any

# Where a schema is put together of several, each part has to leave room for what the others list.
_COMBINING = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "$ref", "$dynamicRef", "dependentSchemas"))
# What says itself which other properties there may be, or how many.
_OPEN = frozenset(("additionalProperties", "unevaluatedProperties", "patternProperties", "minProperties"))
_SCHEMAS = ("items", "additionalProperties", "contains")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions", "patternProperties")


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
