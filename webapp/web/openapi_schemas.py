"""The schemas of `/openapi.json`: of requests, from the very types that validate them; of answers, from types here."""

from typing import Any

import msgspec
from msgspec import Struct

from webapp.web.playground import HistoryMessage
from webapp.web.request_fields import GenerationFields

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
# What Python's str.strip leaves something of: a schema's own \s knows fewer separators, and one more.
_NOT_BLANK = r"[^\s\x1c-\x1f\x85]|\ufeff"
# Fields that are refused with a sentence, unless they ask for nothing.
_UNSUPPORTED: dict[str, Schema] = {
    "lora": {"type": ["string", "null"], "maxLength": 0},
    "functions": {"type": ["array", "null"], "maxItems": 0},
}


class Exact(Struct, forbid_unknown_fields=True):
    """An object with these members and no others."""


class Usage(Exact):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Result(Exact):
    response: str
    tool_calls: list[dict[str, Any]]
    usage: Usage


class RunAnswer(Exact):
    result: Result
    success: bool
    errors: list[dict[str, Any]]
    messages: list[str]


class Problem(Exact):
    code: int
    message: str


class RunRefusal(Exact):
    """`result` is null where the gate refused, before the request was looked at."""

    errors: list[Problem]
    success: bool
    messages: list[str]
    result: dict[str, Any] | None


class Health(Exact):
    status: str


class Readiness(Exact):
    status: str
    reasons: list[str] = []


class PoolReport(Exact):
    """Each of `processes` has a role and a state; engines have more."""

    epoch: str
    answered_by: int | None
    running: int
    waiting: dict[str, int]
    memory_budget: int | None
    memory_taken: int
    processes: list[dict[str, Any]]


class PoolError(Exact):
    code: str
    message: str


class PoolProblem(Exact):
    error: PoolError


def reference(name: str) -> Schema:
    """A reference to one of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def components(models: list[str], *, most_tokens: int) -> Schema:
    """All schemas by name, for a catalogue with these models, of which one makes at most so many tokens."""
    kinds = [GenerationFields, HistoryMessage, RunAnswer, RunRefusal, Health, Readiness, PoolReport, PoolProblem]
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    limit = {"max_tokens": {"description": "At most the model's sequence length.", "maximum": most_tokens}}
    fields = schemas["GenerationFields"]["properties"]
    return schemas | {
        "RunBody": _run_body(limit),
        "Form": {"allOf": [_form(fields, models), {"properties": limit}]},
        "ApiEvent": _event({"message": '`{"response": …}`, or `[DONE]`, which ends a whole answer.'}),
        "PlaygroundEvent": _event(
            {
                "message": '`{"response": …}` with an id, or `[DONE]`, which ends it.',
                "status": "Where it waits, how far its model has loaded, who reads its prompt.",
                "usage": "Counts and durations, before the end.",
                "error": "It failed; the end follows.",
                "gone": "It cannot be gone on with; nothing follows.",
            }
        ),
    }


def _run_body(limit: Schema) -> Schema:
    """The fields, and what no single one of them says."""

    def only(given: str, left_out: str) -> Schema:
        return {"required": [given], "properties": {given: {"not": {"type": "null"}}, left_out: {"type": "null"}}}

    return {
        "allOf": [reference("GenerationFields"), {"properties": limit | _UNSUPPORTED}],
        "oneOf": [only("prompt", "messages"), only("messages", "prompt")],
    }


def _form(fields: Schema, models: list[str]) -> Schema:
    """The playground's form: parameters are those of the API, as text, and empty where they are not given."""
    empty = {"const": ""}

    def or_empty(schema: Schema) -> Schema:
        return {"anyOf": [kind for kind in schema["anyOf"] if kind != {"type": "null"}] + [empty]}

    elsewhere = {"prompt", "messages", "options"}
    parameters = {name: or_empty(schema) for name, schema in fields.items() if name not in elsewhere}
    parameters |= dict.fromkeys((*_UNSUPPORTED, "response_format", "tools", "tool_choice", "stop"), empty)
    message = {"contentMediaType": "application/json", "contentSchema": reference("HistoryMessage")}
    texts = {
        "model": TEXT | {"enum": models},
        "system": TEXT,
        "prompt": TEXT | {"pattern": _NOT_BLANK},
        "history": {"type": "array", "items": TEXT | message},
    }
    return {"type": "object", "properties": parameters | texts, "required": ["model", "prompt"]}


def _event(kinds: dict[str, str]) -> Schema:
    """One server-sent event: OpenAPI before 3.2 describes a stream by what each of its events is."""
    return {
        "type": "object",
        "description": "\n".join(f"{name}: {description}" for name, description in kinds.items()),
        "properties": {"event": {"enum": list(kinds)}, "data": TEXT, "id": TEXT | {"pattern": "^[0-9]+$"}},
        "required": ["data"],
    }
