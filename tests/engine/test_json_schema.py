"""Schemas whose objects end with what they list."""

from typing import Any

import pytest

from webapp.engine.json_schema import closed

_LISTED = {"properties": {"a": {"type": "string"}}}
_CLOSED = {**_LISTED, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "meant"),
    [
        (_LISTED, _CLOSED),
        ({"items": _LISTED}, {"items": _CLOSED}),
        ({"anyOf": [_LISTED, {"type": "null"}]}, {"anyOf": [_CLOSED, {"type": "null"}]}),
        ({"$ref": "#/$defs/x", "$defs": {"x": _LISTED}}, {"$ref": "#/$defs/x", "$defs": {"x": _CLOSED}}),
        (
            {"properties": {"b": _LISTED}, "required": ["b"]},
            {"properties": {"b": _CLOSED}, "required": ["b"], "additionalProperties": False},
        ),
        # A property may be called as a keyword is.
        ({"properties": {"allOfThem": {}}}, {"properties": {"allOfThem": {}}, "additionalProperties": False}),
    ],
)
def test_listed_properties_are_all_there_are(schema: dict[str, Any], meant: dict[str, Any]):
    assert closed(schema) == meant


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"properties": {}},
        {**_LISTED, "additionalProperties": True},
        {**_LISTED, "patternProperties": {"^x": {}}},
        {**_LISTED, "required": ["a", "b"]},
        {**_LISTED, "minProperties": 2},
        {"allOf": [_LISTED, {"properties": {"b": {}}}]},
        {**_LISTED, "anyOf": [{"properties": {"b": {}}}, {"required": ["a"]}]},
        {**_LISTED, "$ref": "#/$defs/x", "$defs": {"x": {"properties": {"b": {}}}}},
        {"properties": [], "required": "a"},
        {"properties": True},
    ],
)
def test_a_schema_that_leaves_room_for_others_stays_as_it_is(schema: dict[str, Any]):
    assert closed(schema) == schema
