"""Parts of `/openapi.json`: operations, parameters, contents, and what refusals each API has. Knows no route."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from webapp.web import errors
from webapp.web.api import envelope
from webapp.web.api.openai import errors as openai_errors
from webapp.web.openapi.schemas import TEXT, Schema, reference

PAGE: Schema = {"text/html": {"schema": TEXT}}
SENTENCE: Schema = {"text/plain": {"schema": TEXT}}
# A refusal of ours is a sentence; one of Flask's own, as for a path that is none, is a page.
SENTENCE_OR_PAGE: Schema = SENTENCE | PAGE
API_TOKEN = [{"apiToken": []}]
HEADERS: dict[str, str] = {
    "cf-ai-req-id": "The request's id, as its errors name it.",
    "x-request-id": "The request's id.",
    "x-jeton-served-by": "The model that has answered, where it stood in for the one asked for.",
    "Retry-After": "After how many seconds it is worth trying again.",
    "RateLimit-Policy": "How many generations a minute the caller may start; on this machine there is no limit.",
    "RateLimit": "How many are left now, and after how many seconds there are more.",
}
# On answers of routes that start generations.
GENERATING = ("x-jeton-served-by", "Retry-After", "RateLimit-Policy", "RateLimit")

# Status, what it means, the content by type.
Answers = dict[int, tuple[str, Schema]]


def operation(
    name: str, summary: str, answers: Answers, *, tag: str, headers: Iterable[str] = (), **more: object
) -> Schema:
    """An operation. `headers` are those that its answers may have."""
    declared = {header: {"$ref": f"#/components/headers/{header}"} for header in headers}
    responses = {
        str(status): {"description": description}
        | ({"headers": declared} if declared else {})
        | ({"content": content} if content else {})
        for status, (description, content) in sorted(answers.items())
    }
    return {"operationId": name, "summary": summary, "tags": [tag], "responses": responses} | more


def parameter(name: str, schema: Schema, *, place: str, description: str = "") -> Schema:
    """A parameter in the `path`, the `query` or a `header`."""
    given = {"name": name, "in": place, "required": place == "path", "schema": schema}
    return given | ({"description": description} if description else {})


def query_parameters(kind: type[Struct], *, required: Iterable[str] = ()) -> list[Schema]:
    """The fields of a type that is read from a query: as text, and empty where they are not given."""
    _, schemas = msgspec.json.schema_components([kind])
    fields: dict[str, Any] = schemas[kind.__name__]["properties"]
    return [
        parameter(name, schema if name in required else or_empty(schema), place="query")
        | {"required": name in required}
        for name, schema in fields.items()
    ]


def or_empty(schema: Schema) -> Schema:
    """The schema of a field in a form or a query, which may be empty, and is never null."""
    bare = {name: value for name, value in schema.items() if name != "default"}
    kinds = bare.pop("anyOf", None) or [bare]
    return {"anyOf": [kind for kind in kinds if kind != {"type": "null"}] + [{"const": ""}]}


def body(name: str) -> Schema:
    """A required body of JSON."""
    return {"required": True, "content": json_of(name)}


def json_of(name: str) -> Schema:
    """The content of an answer or body: JSON with this component's schema."""
    return {"application/json": {"schema": reference(name)}}


def stream_of(name: str) -> Schema:
    """The content of a stream whose events have this component's schema."""
    return {"text/event-stream": {"schema": reference(name)}}


def cloudflare_refusals() -> Answers:
    """Every refusal in Cloudflare's envelope, by status."""
    by_status = defaultdict(list[str])
    for kind, (status, number, _) in (envelope.ERRORS | envelope.GATE_ERRORS).items():
        by_status[status].append(f"{kind.__name__} ({number})")
    by_status[envelope.INTERNAL[0]].append(f"GenerationFailed ({envelope.INTERNAL[1]})")
    by_status[404].append("no such route (7000)")
    return {status: (", ".join(names), json_of("RunRefusal")) for status, names in by_status.items()}


def openai_refusals() -> Answers:
    """Every refusal in OpenAI's shape, by status."""
    by_status = defaultdict(list[str])
    for kind, (status, type_name, code) in openai_errors.ERRORS.items():
        by_status[status].append(f"{kind.__name__} ({code or type_name})")
    by_status[404].append("no such route (invalid_request_error)")
    by_status[405].append("no such method (invalid_request_error)")
    return {status: (", ".join(names), json_of("OpenAIRefusal")) for status, names in by_status.items()}


def site_refusals(kinds: Iterable[type[errors.RequestError]], content: Schema) -> Answers:
    """These errors by their own status, as the routes of this site answer them."""
    by_status = defaultdict(list[str])
    for kind in kinds:
        by_status[kind.status].append(kind.__name__)
    return {status: (", ".join(names), content) for status, names in by_status.items()}
