"""What a client may ask, field by field: bounds, defaults, and the one GenerationRequest that comes of it.

Ranges are those of Workers AI's published schema for text generation. Knows no HTTP: JSON bodies and forms
both arrive as a mapping.
"""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from webapp.catalog import Catalog, CatalogEntry, Task
from webapp.catalog import ModelNotFound as EntryNotFound
from webapp.catalog import ModelNotInstalled as EntryNotInstalled
from webapp.catalog import ModelUnavailable as EntryUnavailable
from webapp.web.conversation_fields import MessageFields, ToolChoice, Tools, choose_tools, in_order_of_calls
from webapp.web.errors import (
    FeatureUnsupported,
    InvalidFields,
    LoraUnsupported,
    ModelNotFound,
    ModelNotInstalled,
    ModelUnavailable,
)
from webapp.web.fields import read_struct
from webapp.wire.generation import GenerationRequest

DEFAULT_MAX_TOKENS = 256
DEFAULT_TEMPERATURE = 0.6
# Anything colder takes the likeliest token as 0 does, and divided by it logits overflow.
LEAST_TEMPERATURE = 1e-4
LARGEST_SEED = 9_999_999_999

Text = Annotated[str, Meta(min_length=1)]
# An engine looks for each of them, and for the start of each, after every token: long ones would hold up the others.
StopSequence = Annotated[str, Meta(min_length=1, max_length=1000)]
# OpenAI's API takes four.
StopSequences = StopSequence | Annotated[list[StopSequence], Meta(max_length=16)]
_json = msgspec.json.Encoder()


class Options(Struct, frozen=True, rename="camel"):
    reject_if_busy: bool = False


class ResponseFormat(Struct, frozen=True):
    """JSON mode. `json_schema` is the bare schema, as Workers AI has it."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None

    def to_schema(self) -> str | None:
        """The schema as text; None where the answer is free. Without one it is any object."""
        if self.type == "text":
            return None
        schema = self.json_schema if self.type == "json_schema" else None
        return _json.encode({"type": "object"} if schema is None else schema).decode()


class GenerationFields(Struct, frozen=True, kw_only=True):
    """The body of a text generation. One of `prompt` and `messages` is required; None means not given."""

    prompt: Text | None = None
    messages: Annotated[list[MessageFields], Meta(min_length=1)] | None = None
    raw: bool | None = None
    stream: bool | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=5)] | None = None
    top_p: Annotated[float, Meta(ge=0.001, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=1, le=50)] | None = None
    seed: Annotated[int, Meta(ge=1, le=LARGEST_SEED)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    options: Options | None = None
    lora: Text | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    # Code for Cloudflare's own machines to run. Named so that it is refused with a sentence and not ignored.
    functions: list[Any] | None = None
    # Ours, where Workers AI has none; OpenAI's API has the same names.
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    stop: StopSequences | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None


def read_fields(given: Mapping[str, object], *, is_form: bool = False) -> GenerationFields:
    """The typed fields, of which one of `prompt` and `messages` is given. Raises InvalidFields."""
    fields = read_struct(GenerationFields, given, is_form=is_form)
    if (fields.prompt is None) == (fields.messages is None):
        raise InvalidFields({"prompt": "one of prompt and messages is required, and only one"})
    return fields


def find_model(catalog: Catalog, name: str, *, task: Task = "text-generation") -> tuple[CatalogEntry, CatalogEntry]:
    """The entry that was asked for, and the one that answers.

    Raises ModelNotFound, ModelNotInstalled, ModelUnavailable, and InvalidFields where its task is another.
    """
    try:
        entry = catalog.find(name)
        if entry.task != task:
            raise InvalidFields({"model": _other_task(catalog, entry, task)})
        return entry, catalog.serving(entry)
    except EntryNotFound:
        raise ModelNotFound(f"No such model {name} or task") from None
    except EntryNotInstalled as error:
        raise ModelNotInstalled(str(error)) from None
    except EntryUnavailable as error:
        raise ModelUnavailable(str(error)) from None


def to_request(
    fields: GenerationFields, entry: CatalogEntry, serving: CatalogEntry, *, logprobs: int | None = None
) -> GenerationRequest:
    """The request for the pool, under the limits of `entry`, the seed resolved. `logprobs` is that of the request.

    Raises InvalidFields, FeatureUnsupported, LoraUnsupported.
    """
    max_tokens = fields.max_tokens or min(DEFAULT_MAX_TOKENS, entry.sequence_length)
    _check_max_tokens(max_tokens, entry)
    if fields.functions:
        raise FeatureUnsupported("functions holds code for Cloudflare to run; this server runs none")
    tools, has_to_call = choose_tools(fields.tools or (), fields.tool_choice)
    if tools and fields.raw and fields.prompt:
        raise InvalidFields({"tools": "a raw prompt has no place for them"})
    schema = fields.response_format.to_schema() if fields.response_format else None
    return GenerationRequest(
        model=serving.name,
        context_window=entry.context_window,
        max_tokens=max_tokens,
        seed=fields.seed or 1 + secrets.randbelow(LARGEST_SEED),
        prompt=fields.prompt,
        messages=tuple(message.to_message() for message in in_order_of_calls(fields.messages or ())),
        raw=bool(fields.raw),
        temperature=_temperature(fields),
        top_p=fields.top_p or 1.0,
        top_k=fields.top_k or 0,
        # 0 would divide by nothing; the schema allows it, and it has always meant no penalty.
        repetition_penalty=fields.repetition_penalty or 1.0,
        frequency_penalty=fields.frequency_penalty or 0.0,
        presence_penalty=fields.presence_penalty or 0.0,
        stop=(fields.stop,) if isinstance(fields.stop, str) else tuple(fields.stop or ()),
        min_p=fields.min_p or 0.0,
        logprobs=logprobs,
        json_schema=schema,
        tools=tools,
        has_to_call=has_to_call,
        has_parallel_calls=fields.parallel_tool_calls is not False,
        adapter=_adapter(fields.lora, serving),
        asked_model=entry.name if serving is not entry else "",
    )


def repeat_request(request: GenerationRequest, entry: CatalogEntry, serving: CatalogEntry) -> GenerationRequest:
    """The same request, seed included, under the limits that `entry` has now.

    Raises InvalidFields, LoraUnsupported.
    """
    _check_max_tokens(request.max_tokens, entry)
    return msgspec.structs.replace(
        request,
        model=serving.name,
        context_window=entry.context_window,
        adapter=_adapter(request.adapter, serving),
        asked_model=entry.name if serving is not entry else "",
        logprobs=None,
    )


def _check_max_tokens(max_tokens: int, entry: CatalogEntry) -> None:
    if max_tokens > entry.sequence_length:
        raise InvalidFields({"max_tokens": f"{entry.name} makes at most {entry.sequence_length} tokens"})


def _other_task(catalog: Catalog, entry: CatalogEntry, task: Task) -> str:
    names = ", ".join(other.name for other in catalog.entries if other.task == task)
    does = "makes embeddings, not text" if entry.task == "text-embeddings" else "makes text, not embeddings"
    wanted = "make text" if task == "text-generation" else "make embeddings"
    return f"{entry.name} {does}; models that {wanted}: {names or 'none here'}"


def _temperature(fields: GenerationFields) -> float:
    if fields.temperature is None:
        return DEFAULT_TEMPERATURE
    return fields.temperature if fields.temperature >= LEAST_TEMPERATURE else 0.0


def _adapter(lora: str | None, serving: CatalogEntry) -> str | None:
    if lora is None:
        return None
    names = [adapter.name for adapter in serving.adapters]
    if not names:
        raise LoraUnsupported(f"{serving.name} has no LoRA adapters")
    if lora not in names:
        raise InvalidFields({"lora": f"{serving.name} has the adapters {', '.join(names)}"})
    return lora
