"""Schemas whose objects end with what they list."""

from typing import Any

import pytest

from webapp.engine.json_schema import closed, excess

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


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [[[[at]]] for at in range(3000)]},
        {"properties": {f"p{at}": {} for at in range(3000)}},
        {"allOf": [{"type": "string", "pattern": f".*a.{{{at}}}.*"} for at in range(16)]},
        {
            "$ref": "#/$defs/p0",
            "$defs": {f"p{at}": {"pattern": f".*a.{{{at}}}", "$ref": f"#/$defs/p{at + 1}"} for at in range(16)},
        },
        {"patternProperties": {f"^p{at}$": {} for at in range(40)}},
    ],
    ids=["lists to choose from", "properties", "patterns of one string", "patterns by reference", "named by patterns"],
)
def test_schemas_that_take_seconds_to_compile_exceed(schema: dict[str, Any]):
    assert excess([schema])


def test_all_schemas_of_a_request_count_together_and_remarks_to_people_do_not():
    small = {"properties": {f"p{at}": {"type": "string", "description": "long " * 100} for at in range(100)}}

    assert not excess([small])
    assert excess([small] * 10)


def test_many_patterns_each_of_its_own_string_are_fine():
    one_of_many = {"anyOf": [{"type": "string", "pattern": f"^a{at}$"} for at in range(30)]}

    assert not excess([one_of_many])
