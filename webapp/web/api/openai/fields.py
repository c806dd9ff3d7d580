"""What OpenAI's text routes take, field by field, and what it means to a generation here. Knows no route.

Source: OpenAI's API reference. `top_k`, `min_p`, `repetition_penalty` and `lora` are not OpenAI's; other servers with
its API have the first three under these names. Names that no field has are ignored, as what only OpenAI's own machines
have (`store`, `service_tier`); what would change the answer and is not done here is refused by its name.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from webapp.catalog import CatalogEntry
from webapp.web.choices import MOST_CHOICES
from webapp.web.conversation_fields import MessageFields, ToolChoice, Tools
from webapp.web.errors import InvalidFields
from webapp.web.fields import read_struct
from webapp.web.request_fields import (
    DEFAULT_MAX_TOKENS,
    LARGEST_SEED,
    GenerationFields,
    ResponseFormat,
    StopSequences,
    Text,
)

# OpenAI's own.
DEFAULT_TEMPERATURE = 1.0
# What the engine has instead of 0, which leaves the likeliest token only.
_LEAST_TOP_P = 0.001
_LARGEST_TOP_K = 1000

S = TypeVar("S", bound="SharedFields")

# What changes the meaning of a request and is not done here; where it asks for nothing, it is ignored.
REFUSED = {
    "audio": "this server answers with text only",
    "function_call": "too old a form; tool_choice is read",
    "functions": "too old a form; tools are read",
    "logit_bias": "this server knows no bias of single tokens",
    "prediction": "this server knows no predicted outputs",
    "web_search_options": "this server searches no web",
    "suffix": "this server writes nothing that goes before a suffix",
}


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False


class NamedSchema(Struct, frozen=True):
    """A JSON schema as OpenAI wraps it."""

    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class FormatFields(Struct, frozen=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    def to_response_format(self) -> ResponseFormat:
        """The same with the bare schema. Raises InvalidFields."""
        if self.type != "json_schema":
            return ResponseFormat(self.type)
        if not self.json_schema or self.json_schema.schema is None:
            raise InvalidFields({"response_format": "type json_schema needs a json_schema with a schema"})
        return ResponseFormat("json_schema", self.json_schema.schema)


class SamplingFields(Struct, frozen=True, kw_only=True):
    """How tokens are chosen, on every route; None means not given."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    # From here on other servers' and ours. -1 and 0 leave top_k off.
    top_k: Annotated[int, Meta(ge=-1, le=_LARGEST_TOP_K)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0, le=2)] | None = None
    lora: Text | None = None

    def sampling(self) -> GenerationFields:
        """These, as every dialect's request has them."""
        return GenerationFields(
            temperature=DEFAULT_TEMPERATURE if self.temperature is None else self.temperature,
            top_p=None if self.top_p is None else max(self.top_p, _LEAST_TOP_P),
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            seed=None if self.seed is None else fit_seed(self.seed),
            top_k=self.top_k if self.top_k and self.top_k > 0 else None,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            lora=self.lora,
        )


class SharedFields(SamplingFields, frozen=True, kw_only=True):
    """What chat completions and completions both take; None means not given."""

    model: Text
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: StopSequences | None = None
    response_format: FormatFields | None = None

    @property
    def has_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def shared(self) -> GenerationFields:
        """All but the prompt and its limits. Raises InvalidFields."""
        return msgspec.structs.replace(
            self.sampling(),
            stop=self.stop,
            response_format=self.response_format.to_response_format() if self.response_format else None,
        )


class ChatFields(SharedFields, frozen=True, kw_only=True):
    """The body of a chat completion."""

    messages: Annotated[list[MessageFields], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[str] | None = None

    @property
    def most_logprobs(self) -> int | None:
        """How many of the likeliest tokens each token is to come with; None where none has a logprob."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def to_choices(self, entry: CatalogEntry) -> list[GenerationFields]:
        """What each choice is to generate. Raises InvalidFields."""
        fields = msgspec.structs.replace(
            self.shared(),
            messages=self.messages,
            max_tokens=self._max_tokens(entry),
            tools=self.tools,
            tool_choice=self.tool_choice,
            parallel_tool_calls=self.parallel_tool_calls,
        )
        return repeat(fields, self.n or 1)

    def _max_tokens(self, entry: CatalogEntry) -> int:
        name = "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"
        asked = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return check_max_tokens(name, asked, entry)


class CompletionFields(SharedFields, frozen=True, kw_only=True):
    """The body of a completion: the prompts go to the model as they are."""

    # Token ids are refused with a sentence.
    prompt: Text | Annotated[list[Text | int | list[int]], Meta(min_length=1, max_length=MOST_CHOICES)]
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: int | None = None

    @property
    def prompts(self) -> list[str]:
        """The prompts, each of which has `n` choices."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return [prompt for prompt in prompts if isinstance(prompt, str)]

    def to_choices(self, entry: CatalogEntry) -> list[GenerationFields]:
        """What each choice is to generate: those of the first prompt first. Raises InvalidFields."""
        fields = self.shared()
        # Without a conversation's end many a model goes on for ever.
        max_tokens = self.max_tokens or min(DEFAULT_MAX_TOKENS, entry.sequence_length)
        fields = msgspec.structs.replace(fields, raw=True, max_tokens=check_max_tokens("max_tokens", max_tokens, entry))
        return [
            choice
            for prompt in self.prompts
            for choice in repeat(msgspec.structs.replace(fields, prompt=prompt), self.n or 1)
        ]


def read_chat_fields(given: Mapping[str, object]) -> ChatFields:
    """The typed fields of a chat completion. Raises InvalidFields."""
    _refuse(given)
    _refuse_parts(given.get("messages"))
    fields = read_struct(ChatFields, given)
    if fields.top_logprobs and not fields.logprobs:
        raise InvalidFields({"top_logprobs": "needs logprobs to be true"})
    if set(fields.modalities or ()) - {"text"}:
        raise InvalidFields({"modalities": "this server answers with text only"})
    return fields


def read_completion_fields(given: Mapping[str, object]) -> CompletionFields:
    """The typed fields of a completion. Raises InvalidFields."""
    _refuse(given)
    fields = read_struct(CompletionFields, given)
    count = 1 if isinstance(fields.prompt, str) else len(fields.prompt)
    if len(fields.prompts) < count:
        raise InvalidFields({"prompt": "token ids cannot be read; send the text"})
    if count * (fields.n or 1) > MOST_CHOICES:
        raise InvalidFields({"n": f"at most {MOST_CHOICES} choices for all prompts together"})
    if fields.best_of not in (None, 1, fields.n):
        raise InvalidFields({"best_of": "this server keeps every answer it makes: leave it out"})
    if fields.echo and fields.logprobs is not None:
        raise InvalidFields({"echo": "cannot be given together with logprobs: the prompt has none here"})
    return fields


def fit_seed(seed: int) -> int:
    """The seed as a generation takes it: any whole number is one, and those that fit are left as they are."""
    return 1 + (seed - 1) % LARGEST_SEED


def check_max_tokens(name: str, asked: int | None, entry: CatalogEntry) -> int:
    """How many tokens to make at most: by default, until the answer's own end. Raises InvalidFields for `name`."""
    if asked is not None and asked > entry.sequence_length:
        raise InvalidFields({name: f"{entry.name} makes at most {entry.sequence_length} tokens"})
    return asked or entry.sequence_length


def repeat(fields: GenerationFields, count: int) -> list[GenerationFields]:
    """The same so many times; with a seed, each has the next one."""
    if fields.seed is None:
        return [fields] * count
    return [msgspec.structs.replace(fields, seed=fit_seed(fields.seed + index)) for index in range(count)]


def _refuse(given: Mapping[str, object]) -> None:
    bad = {name: reason for name, reason in REFUSED.items() if given.get(name)}
    if bad:
        raise InvalidFields(bad)


def _refuse_parts(messages: object) -> None:
    """Say which parts cannot be read, as an image; all else that is wrong with them is found later."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind != "text":
                raise InvalidFields({"messages": f"this server reads text only, no part of type {kind}"})
