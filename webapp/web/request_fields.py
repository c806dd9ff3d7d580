"""What a client may ask, field by field: bounds, defaults, and the one GenerationRequest that comes of it.

Ranges are those of Workers AI's published schema for text generation. Knows no HTTP: JSON bodies and forms
both arrive as a mapping.
"""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from webapp.catalog import Catalog, CatalogEntry
from webapp.catalog import ModelNotFound as EntryNotFound
from webapp.catalog import ModelNotInstalled as EntryNotInstalled
from webapp.catalog import ModelUnavailable as EntryUnavailable
from webapp.web.errors import FeatureUnsupported, InvalidFields, ModelNotFound, ModelNotInstalled, ModelUnavailable
from webapp.wire.generation import GenerationRequest, Message

DEFAULT_MAX_TOKENS = 256
DEFAULT_TEMPERATURE = 0.6
# Anything colder takes the likeliest token as 0 does, and divided by it logits overflow.
LEAST_TEMPERATURE = 1e-4
LARGEST_SEED = 9_999_999_999

Text = Annotated[str, Meta(min_length=1)]


class TextPart(Struct, frozen=True):
    """One part of a message's content; only text can be read."""

    type: Literal["text"]
    text: str


class MessageFields(Struct, frozen=True):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[TextPart]

    def to_message(self) -> Message:
        """The message with its parts joined."""
        if isinstance(self.content, str):
            return Message(self.role, self.content)
        return Message(self.role, "".join(part.text for part in self.content))


class Options(Struct, frozen=True, rename="camel"):
    reject_if_busy: bool = False


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
    lora: str | None = None
    # Named so that they are refused with a sentence and not ignored.
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None


def read_fields(given: Mapping[str, object], *, is_form: bool = False) -> GenerationFields:
    """The typed fields. In a form every value is text, and an empty one means not given. Raises InvalidFields.

    Names that no field has are ignored, as Workers AI does.
    """
    typed: dict[str, Any] = {}
    bad: dict[str, str] = {}
    for field in msgspec.structs.fields(GenerationFields):
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
    if not bad and ("prompt" in typed) == ("messages" in typed):
        bad["prompt"] = "one of prompt and messages is required, and only one"
    if bad:
        raise InvalidFields(bad)
    return GenerationFields(**typed)


def _expectation(field_type: object) -> str | None:
    """What a plain field has to be, in words; None for a nested one, of which msgspec says more."""
    union = msgspec.inspect.type_info(field_type)
    assert isinstance(union, msgspec.inspect.UnionType)
    # Each field may also be null: the kind that counts comes first.
    match union.types[0]:
        case msgspec.inspect.IntType(ge=least, le=None):
            return f"must be a whole number of at least {least}"
        case msgspec.inspect.IntType(ge=least, le=most):
            return f"must be a whole number from {least} to {most}"
        case msgspec.inspect.FloatType(ge=least, le=most):
            return f"must be a number from {least} to {most}"
        case msgspec.inspect.StrType(min_length=least):
            return f"must be a text of at least {least} character" if least else "must be a text"
        case msgspec.inspect.BoolType():
            return "must be true or false"
        case _:
            return None


def find_model(catalog: Catalog, name: str) -> tuple[CatalogEntry, CatalogEntry]:
    """The entry that was asked for, and the one that answers.

    Raises ModelNotFound, ModelNotInstalled, ModelUnavailable.
    """
    try:
        entry = catalog.find(name)
        return entry, catalog.serving(entry)
    except EntryNotFound:
        raise ModelNotFound(f"No such model {name} or task") from None
    except EntryNotInstalled as error:
        raise ModelNotInstalled(str(error)) from None
    except EntryUnavailable as error:
        raise ModelUnavailable(str(error)) from None


def to_request(fields: GenerationFields, entry: CatalogEntry, serving: CatalogEntry) -> GenerationRequest:
    """The request for the pool, under the limits of `entry`, the seed resolved.

    Raises InvalidFields and FeatureUnsupported.
    """
    _refuse_unsupported(fields)
    max_tokens = fields.max_tokens or min(DEFAULT_MAX_TOKENS, entry.sequence_length)
    if max_tokens > entry.sequence_length:
        raise InvalidFields({"max_tokens": f"{entry.name} makes at most {entry.sequence_length} tokens"})
    return GenerationRequest(
        model=serving.name,
        context_window=entry.context_window,
        max_tokens=max_tokens,
        seed=fields.seed or 1 + secrets.randbelow(LARGEST_SEED),
        prompt=fields.prompt,
        messages=tuple(message.to_message() for message in fields.messages or ()),
        raw=bool(fields.raw),
        temperature=_temperature(fields),
        top_p=fields.top_p or 1.0,
        top_k=fields.top_k or 0,
        # 0 would divide by nothing; the schema allows it, and it has always meant no penalty.
        repetition_penalty=fields.repetition_penalty or 1.0,
        frequency_penalty=fields.frequency_penalty or 0.0,
        presence_penalty=fields.presence_penalty or 0.0,
    )


def _temperature(fields: GenerationFields) -> float:
    if fields.temperature is None:
        return DEFAULT_TEMPERATURE
    return fields.temperature if fields.temperature >= LEAST_TEMPERATURE else 0.0


def _refuse_unsupported(fields: GenerationFields) -> None:
    for name in ("lora", "response_format", "tools", "functions"):
        if getattr(fields, name):
            raise FeatureUnsupported(f"{name} is not supported by this server yet")
