"""What a client sends to typed fields, each bad one named. Knows no field."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from webapp.web.errors import InvalidFields

S = TypeVar("S", bound=Struct)


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
            bad[field.encode_name] = _expectation(field.type) or str(error)
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


def _expectation(field_type: object) -> str | None:
    """What a plain field has to be, in words; None for a nested one, of which msgspec says more."""
    described = msgspec.inspect.type_info(field_type)
    kinds = described.types if isinstance(described, msgspec.inspect.UnionType) else (described,)
    # Each field may also be null: the kind that counts comes first.
    plain = [kind for kind in kinds if not isinstance(kind, msgspec.inspect.NoneType)]
    match plain:
        case [msgspec.inspect.IntType(ge=None, le=None)]:
            return "must be a whole number"
        case [msgspec.inspect.IntType(ge=least, le=None)]:
            return f"must be a whole number of at least {least}"
        case [msgspec.inspect.IntType(ge=least, le=most)]:
            return f"must be a whole number from {least} to {most}"
        case [msgspec.inspect.FloatType(ge=least, le=most)]:
            return f"must be a number from {least} to {most}"
        case [msgspec.inspect.StrType(min_length=least)]:
            return f"must be a text of at least {least} character" if least else "must be a text"
        case [msgspec.inspect.BoolType()]:
            return "must be true or false"
        case _:
            return None
