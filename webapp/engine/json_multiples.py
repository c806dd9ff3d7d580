"""How much there is to count for the `multipleOf` of JSON schemas. Knows nothing of grammars."""

import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

# Where parts of a schema hold together, one number may have to be a multiple of several.
_COMBINING = frozenset(("allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "if", "dependentSchemas"))


def remainders(schemas: Iterable[dict[str, Any]]) -> int:
    """How many remainders a number can have that is written digit by digit, for all multiples in these schemas.

    Each is one more state of the decoder that watches the digits: 7 has 7, and so has 0.7.
    """
    total = 0
    for schema in schemas:
        found = [Decimal(str(value)) for value in _multiples(schema)]
        if _COMBINING & set(_keys(schema)):
            places = max(map(_places, found), default=0)
            total += math.lcm(*(_without_point(value, places) for value in found))
        else:
            total += sum(_without_point(value, _places(value)) for value in found)
    return total


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _without_point(value: Decimal, places: int) -> int:
    return int(value.scaleb(places))


def _multiples(value: object) -> Iterator[float]:
    for key, inner in _members(value):
        # Of what is no positive number there are no multiples; the schema is refused for that.
        if key == "multipleOf" and isinstance(inner, int | float) and not isinstance(inner, bool) and inner > 0:
            yield inner
        yield from _multiples(inner)


def _keys(value: object) -> Iterator[str]:
    for key, inner in _members(value):
        if key:
            yield key
        yield from _keys(inner)


def _members(value: object) -> Iterable[tuple[str, object]]:
    if isinstance(value, dict):
        return value.items()
    return (("", inner) for inner in value) if isinstance(value, list) else ()
