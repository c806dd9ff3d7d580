"""The schemas of `/openapi.json`: of requests, from the very types that validate them, and what no single field says.

What an answer looks like is in openapi_answers.
"""

from typing import Any

import msgspec

from webapp.catalog import Catalog
from webapp.web.api.openai.fields import REFUSED, ChatFields, CompletionFields
from webapp.web.api.openai.models import EmbeddingFields as OpenAIEmbeddingFields
from webapp.web.api.openai.responses_fields import ResponseFields
from webapp.web.api.workers_ai.binding import Run
from webapp.web.api.workers_ai.run_types import EmbeddingFields
from webapp.web.api.workers_ai.tensors import TensorRequest
from webapp.web.openapi.answers import ANSWERS
from webapp.web.playground_forms import MOST_MESSAGES, HistoryMessage
from webapp.web.request_fields import DEFAULT_MAX_TOKENS, DEFAULT_TEMPERATURE, GenerationFields

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
# What Python's str.strip leaves something of: a schema's own \s knows fewer separators, and one more.
_NOT_BLANK = r"[^\s\x1c-\x1f\x85]|\ufeff"
_GIVEN: Schema = {"not": {"type": "null"}}
# Code for Cloudflare to run: refused with a sentence, unless there is none.
_FUNCTIONS: Schema = {"description": "For Cloudflare to run: refused.", "type": ["array", "null"], "maxItems": 0}
# Token ids are refused with a sentence.
_SOME_TEXT: Schema = TEXT | {"minLength": 1}
_TEXTS: Schema = {"anyOf": [_SOME_TEXT, {"type": "array", "items": _SOME_TEXT, "minItems": 1}]}
# What the types say in their own words, by the name of their schema.
_RULES: dict[str, Schema] = {
    "MessageFields": {
        "anyOf": [
            {"required": ["content"], "properties": {"content": _GIVEN}},
            {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}},
        ]
    },
    "ToolFields": {
        "anyOf": [
            {"required": ["function"], "properties": {"function": _GIVEN}},
            {"required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}},
        ]
    },
    "ToolCallFields": {
        "anyOf": [
            {"required": ["function"], "properties": {"function": _GIVEN}},
            {"required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}},
        ]
    },
}
_RESPONSE_EVENTS = (
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
)


def reference(name: str) -> Schema:
    """A reference to one of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def most_tokens(catalog: Catalog) -> int:
    """The most that any of its models makes."""
    return max(entry.sequence_length for entry in catalog.entries if entry.task == "text-generation")


def components(catalog: Catalog) -> Schema:
    """All schemas by name, for this catalogue's models."""
    texts = [entry for entry in catalog.entries if entry.task == "text-generation"]
    vectors = [entry for entry in catalog.entries if entry.task == "text-embeddings"]
    most = most_tokens(catalog)
    adapters = sorted({adapter.name for entry in catalog.entries for adapter in entry.adapters})
    schemas = _of_types()
    limits = {"max_tokens": {"description": "At most the model's sequence length.", "maximum": most}}
    lora: Schema = {"lora": {"description": "One of the model's LoRA adapters.", "enum": [*adapters, None]}}
    extras = {
        "max_tokens": limits["max_tokens"]
        | {"description": f"At most the model's sequence length; {DEFAULT_MAX_TOKENS} where it is not given."},
        "temperature": {"description": f"{DEFAULT_TEMPERATURE} where it is not given; 0 takes the likeliest."},
        "seed": {"description": "The same seed gives the same text; drawn where it is not given."},
        "raw": {"description": "Leaves the model's chat template out."},
        **lora,
        "functions": _FUNCTIONS,
    }
    refused = {
        name: {"description": f"Refused: {reason}.", "enum": [None, False, 0, "", [], {}]}
        for name, reason in REFUSED.items()
    }
    return schemas | {
        "Model": {"enum": [entry.name for entry in texts]},
        # A catalogue may have none; then every request for one is refused.
        "EmbeddingModel": {"enum": [entry.name for entry in vectors] or ["none"]},
        "AnyModel": {"enum": [entry.name for entry in catalog.entries]},
        "RunBody": {"anyOf": [_generation(extras), reference("RunEmbeddingFields")]},
        "BindingBody": {"anyOf": [reference("Run"), reference("TensorRequest")]},
        "ChatBody": _of_model("ChatFields", limits | lora | refused | {"max_completion_tokens": {"maximum": most}}),
        "CompletionBody": _of_model("CompletionFields", limits | lora | refused | {"prompt": _TEXTS}),
        "ResponseBody": _of_model("ResponseFields", {"max_output_tokens": {"maximum": most}}),
        "EmbeddingBody": _of_model("EmbeddingFields", {"input": _TEXTS}, model="EmbeddingModel"),
        "Form": {"allOf": [_form(schemas["GenerationFields"]["properties"]), {"properties": limits}]},
        "CountForm": _count_form(),
        "ApiEvent": _event({"message": '`{"response": …}`, or `[DONE]`, which ends a whole answer.'}),
        "ChunkEvent": _event({"message": "A chunk, or `[DONE]`, which ends a whole answer."}),
        "ResponseEvent": _event(
            {"message": "`[DONE]`, which ends a whole answer."}
            | dict.fromkeys(_RESPONSE_EVENTS, "As OpenAI's reference has it.")
        ),
        "EndpointEvent": _event(_numbered_events(), event_id="^[0-9a-f]{32}:[0-9]+$"),
        "PlaygroundEvent": _event(_numbered_events() | {"gone": "It cannot be gone on with; nothing follows."}),
    }


def _of_types() -> Schema:
    """The types' own schemas, with what they say besides."""
    asked = [GenerationFields, ChatFields, CompletionFields, ResponseFields, HistoryMessage, Run, TensorRequest]
    # Two types of one name; a schema has only one.
    renamed = {"RunEmbeddingFields": _schemas([EmbeddingFields]), "EmbeddingFields": _schemas([OpenAIEmbeddingFields])}
    schemas = _schemas([*asked, *ANSWERS])
    for name, parts in renamed.items():
        schemas[name] = parts.pop("EmbeddingFields")
        schemas |= parts
    schemas["RunAnswer"]["properties"]["result"] = {"anyOf": [reference("Result"), reference("Vectors")]}
    for name, rule in _RULES.items():
        schemas[name] = schemas[name] | rule
    return schemas


def _schemas(kinds: list[Any]) -> Schema:
    _, schemas = msgspec.json.schema_components(
        kinds, schema_hook=_anything, ref_template="#/components/schemas/{name}"
    )
    return schemas


def _anything(kind: type) -> Schema:
    """What msgspec has no schema for: `object`, which any JSON is."""
    return {"description": "Any JSON."}


def _generation(limits: Schema) -> Schema:
    """The fields, and what no single one of them says."""

    def only(given: str, left_out: str) -> Schema:
        return {"required": [given], "properties": {given: _GIVEN, left_out: {"type": "null"}}}

    return {
        "allOf": [reference("GenerationFields"), {"properties": limits}],
        "oneOf": [only("prompt", "messages"), only("messages", "prompt")],
    }


def _of_model(name: str, limits: Schema, *, model: str = "Model") -> Schema:
    return {"allOf": [reference(name), {"properties": {"model": reference(model)} | limits}]}


def _form(fields: Schema) -> Schema:
    """The playground's form: parameters are those of the API, as text, and empty where they are not given."""
    empty = {"const": ""}

    def or_empty(schema: Schema) -> Schema:
        return {"anyOf": [kind for kind in schema["anyOf"] if kind != {"type": "null"}] + [empty]}

    elsewhere = {"prompt", "messages", "options"}
    parameters = {name: or_empty(schema) for name, schema in fields.items() if name not in elsewhere}
    parameters |= dict.fromkeys(("lora", "functions", "response_format", "tools", "tool_choice", "stop"), empty)
    texts = {
        "model": reference("Model"),
        "system": TEXT,
        "prompt": TEXT | {"pattern": _NOT_BLANK},
        "history": _history(),
    }
    return {"type": "object", "properties": parameters | texts, "required": ["model", "prompt"]}


def _count_form() -> Schema:
    """What the playground sends to have its tokens counted; the prompt may still be empty."""
    texts = {"model": reference("Model"), "system": TEXT, "prompt": TEXT, "history": _history()}
    return {"type": "object", "properties": texts, "required": ["model"]}


def _history() -> Schema:
    message = {"contentMediaType": "application/json", "contentSchema": reference("HistoryMessage")}
    return {"type": "array", "maxItems": MOST_MESSAGES, "items": TEXT | message}


def _numbered_events() -> dict[str, str]:
    return {
        "message": '`{"response": …}` with an id, or `[DONE]`, which ends it.',
        "status": "Where it waits, how far its model has loaded, who reads its prompt.",
        "usage": "Counts and durations, before the end.",
        "error": "It failed; the end follows.",
    }


def _event(kinds: dict[str, str], *, event_id: str = "^[0-9]+$") -> Schema:
    """One server-sent event: OpenAPI before 3.2 describes a stream by what each of its events is."""
    return {
        "type": "object",
        "description": "\n".join(f"{name}: {description}" for name, description in kinds.items()),
        "properties": {"event": {"enum": list(kinds)}, "data": TEXT, "id": TEXT | {"pattern": event_id}},
        "required": ["data"],
    }
