"""What a client sends to typed fields, each bad one named. Knows no field."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.inspect import (
    BoolType,
    DictType,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
)

from webapp.web.errors import InvalidFields

S = TypeVar("S", bound=Struct)

# How msgspec says where in a value something is wrong, and what.
_PLACE = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_STEP = re.compile(r"\[[^]]*\]|\w+")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_LENGTH = re.compile(r"Expected `(array|str)` of length ([<>])= ([0-9]+)")
_NAMES: dict[type[Type], str] = {
    StrType: "a text",
    IntType: "a whole number",
    FloatType: "a number",
    BoolType: "true or false",
    ListType: "a list",
    DictType: "an object",
    StructType: "an object",
}


def read_struct(kind: type[S], given: Mapping[str, object], *, is_form: bool = False) -> S:
    """The typed fields of `kind`, each of which may be left out. Raises InvalidFields.

    In a form every value is text, and an empty one means not given; in JSON null does. Names that no field has are
    ignored, as Workers AI and OpenAI do.
    """
    typed: dict[str, Any] = {}
    bad: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        value = given.get(field.encode_name)
        if isinstance(value, float) and value.is_integer():
            # In JSON 27.0 is as whole as 27 (JSON Schema, 4.2.3).
            value = int(value)
        if value is None or (is_form and value == ""):
            continue
        try:
            converted = msgspec.convert(value, field.type, strict=not is_form)
        except msgspec.ValidationError as error:
            bad[field.encode_name] = _expectation(field.type) or in_words(error, field.type)
            continue
        if converted is None:
            # A form's text "null" is not an empty field.
            bad[field.encode_name] = _expectation(field.type) or "must not be null"
        else:
            typed[field.name] = converted
    required = [field for field in msgspec.structs.fields(kind) if field.required]
    missing = [field.encode_name for field in required if field.name not in typed]
    bad |= {name: "is required" for name in missing if name not in bad}
    if bad:
        raise InvalidFields(bad)
    return kind(**typed)


def in_words(error: msgspec.ValidationError, kind: object) -> str:
    """What is wrong with a value that was to be a `kind`, and where in it: `[0].role must be user or assistant`."""
    found = _PLACE.fullmatch(str(error))
    reason, place = (found[1], found[2]) if found else (str(error), "")
    if missing := _MISSING.fullmatch(reason):
        words = f"must have {missing[1]}"
    elif length := _LENGTH.fullmatch(reason):
        thing, unit = ("a list", "") if length[1] == "array" else ("a text", " characters")
        words = f"must be {thing} of at {'least' if length[2] == '>' else 'most'} {length[3]}{unit}"
        words = words.removesuffix("s") if words.endswith(" 1 characters") else words
    elif reason.startswith(("Expected `", "Invalid enum value")) and (names := _names(kind, place)):
        words = f"must be {names}"
    else:
        # What a type says of itself: "A message needs content".
        return f"{place}: {reason}" if place else reason
    return f"{place} {words}" if place else words


def _names(kind: object, place: str) -> str:
    # Empty where a kind has no name here.
    kinds = _alternatives(msgspec.inspect.type_info(kind))
    for step in _STEP.findall(place):
        kinds = [inner for each in kinds for inner in _inside(each, step)]
    names: list[str] = []
    for each in kinds:
        names += map(str, each.values) if isinstance(each, LiteralType) else [_NAMES.get(type(each), "")]
    if not all(names):
        return ""
    *others, last = dict.fromkeys(names) or [""]
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(kind: Type) -> list[Type]:
    return [each for each in (kind.types if isinstance(kind, UnionType) else (kind,)) if not isinstance(each, NoneType)]


def _inside(kind: Type, step: str) -> list[Type]:
    match kind:
        case ListType(item_type=inner) if step.startswith("["):
            return _alternatives(inner)
        case DictType(value_type=inner):
            return _alternatives(inner)
        case StructType(fields=fields):
            return [kind for field in fields if field.encode_name == step for kind in _alternatives(field.type)]
        case _:
            return []


def _expectation(field_type: object) -> str | None:
    """What a plain field has to be, in words; None for a nested one, of which msgspec says more."""
    described = msgspec.inspect.type_info(field_type)
    # Each field may also be null.
    match _alternatives(described):
        case [IntType(ge=None, le=None)]:
            return "must be a whole number"
        case [IntType(ge=least, le=None)]:
            return f"must be a whole number of at least {least}"
        case [IntType(ge=least, le=most)]:
            return f"must be a whole number from {least} to {most}"
        case [FloatType(ge=least, le=most)]:
            return f"must be a number from {least} to {most}"
        case [StrType(min_length=least)]:
            return f"must be a text of at least {least} character" if least else "must be a text"
        case [BoolType()]:
            return "must be true or false"
        case _:
            return None
