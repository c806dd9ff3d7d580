"""`/openapi.json` as the rows of a page: routes, fields, events. Knows the document, no template."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from webapp.web.openapi.schemas import Schema

_METHODS = ("get", "post")


@dataclass(frozen=True)
class FieldRow:
    """A parameter, or a field of a body."""

    name: str
    # Where it is given: body, query, path, header.
    place: str
    kind: str
    is_required: bool = False
    description: str = ""


@dataclass(frozen=True)
class AnswerRow:
    status: str
    description: str
    content_types: list[str]


@dataclass(frozen=True)
class EventRow:
    name: str
    description: str


@dataclass(frozen=True)
class RouteRow:
    """One method of one path."""

    name: str
    method: str
    path: str
    summary: str
    tag: str
    needs: str
    fields: list[FieldRow]
    answers: list[AnswerRow]
    events: list[EventRow]
    headers: list[str]


def routes_by_tag(document: Schema) -> dict[str, list[RouteRow]]:
    """Every route of the document, under its tag, in the document's order."""
    by_tag: dict[str, list[RouteRow]] = {}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                row = _route(document, path, method)
                by_tag.setdefault(row.tag, []).append(row)
    return by_tag


def _route(document: Schema, path: str, method: str) -> RouteRow:
    item = document["paths"][path]
    operation = item[method]
    schemas = document["components"]["schemas"]
    responses = operation["responses"]
    given = [*item.get("parameters", ()), *operation.get("parameters", ())]
    parameters = [
        FieldRow(
            each["name"],
            each["in"],
            _kind(each["schema"], schemas),
            is_required=each["required"],
            description=each.get("description", ""),
        )
        for each in given
    ]
    return RouteRow(
        name=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        tag=operation["tags"][0],
        needs=_needs(operation.get("security", [])),
        fields=[*parameters, *_body_fields(operation, schemas)],
        answers=[
            AnswerRow(status, answer["description"], list(answer.get("content", ())))
            for status, answer in responses.items()
        ],
        events=_events(responses, schemas),
        headers=list(dict.fromkeys(name for answer in responses.values() for name in answer.get("headers", ()))),
    )


def _needs(security: list[dict[str, list[str]]]) -> str:
    """Who may ask."""
    names = {"apiToken": "an API token", "session": "this browser's session", "csrfToken": "its CSRF token"}
    ways = [" and ".join(names[name] for name in way) for way in security if way]
    is_optional = {} in security
    return ("optional: " if is_optional and ways else "") + ", or ".join(ways)


def _body_fields(operation: Schema, schemas: Schema) -> list[FieldRow]:
    rows: dict[str, FieldRow] = {}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for part in _parts(content["schema"], schemas):
            required = part.get("required", ())
            for name, schema in part.get("properties", {}).items():
                known = rows.get(name, FieldRow(name, "body", ""))
                rows[name] = FieldRow(
                    name,
                    "body",
                    # A later part narrows what an earlier one says.
                    _kind(schema, schemas) or known.kind,
                    is_required=known.is_required or name in required,
                    description=schema.get("description", known.description),
                )
    return list(rows.values())


def _parts(schema: Schema, schemas: Schema) -> Iterator[Schema]:
    """The schemas with properties that one is made of."""
    schema = _resolved(schema, schemas)
    if "properties" in schema:
        yield schema
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        # Rules about fields that another part describes.
        if set(part) <= {"required", "properties"} and "required" in part:
            continue
        yield from _parts(part, schemas)


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _kind(schema: Schema, schemas: Schema) -> str:
    """What a value has to be, in words."""
    schema = _resolved(schema, schemas)
    if "anyOf" in schema and "type" not in schema:
        kinds = [_kind(each, schemas) for each in schema["anyOf"] if each not in ({"type": "null"}, {"const": ""})]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind))
    if "enum" in schema:
        return _one_of(value for value in schema["enum"] if value is not None)
    match schema.get("type"):
        case "string":
            return "text"
        case "integer":
            return f"whole number{_range(schema)}"
        case "number":
            return f"number{_range(schema)}"
        case "boolean":
            return "true or false"
        case "array":
            return f"list of {_kind(schema.get('items', {}), schemas) or 'anything'}"
        case "object":
            names = ", ".join(schema.get("properties", ()))
            return f"{{{names}}}" if names else "object"
        case _:
            return ""


def _range(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f", {_number(least)} to {_number(most)}"
    if least is not None:
        return f", at least {_number(least)}"
    return f", at most {_number(most)}" if most is not None else ""


def _number(value: float) -> str:
    return str(value).replace("-", "−").removesuffix(".0")


def _one_of(values: Iterable[Any]) -> str:
    return " · ".join(map(str, values))


def _events(responses: Schema, schemas: Schema) -> list[EventRow]:
    rows = []
    for answer in responses.values():
        if content := answer.get("content", {}).get("text/event-stream"):
            described = _resolved(content["schema"], schemas)["description"]
            rows += [EventRow(*line.split(": ", 1)) for line in described.splitlines()]
    return rows
