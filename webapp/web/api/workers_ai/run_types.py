"""What a run of a model answers, and what embeddings are asked with, as types: what is sent is what is documented."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from webapp.web.api.workers_ai.pooling import Pooling
from webapp.web.request_fields import Text

TextsToEmbed = Text | Annotated[list[Text], Meta(min_length=1)]


class EmbeddingFields(Struct, frozen=True):
    """The body for a model that makes embeddings."""

    text: TextsToEmbed
    # Only what the model's own files say.
    pooling: Pooling | None = None


class UsageResult(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ToolCallResult(Struct, frozen=True):
    """A call that the model asks for. `arguments` is an object."""

    name: str
    arguments: Any


class TextResult(Struct, frozen=True):
    """An answer. `response` is a text, in JSON mode the value itself."""

    response: Any
    tool_calls: list[ToolCallResult]
    usage: UsageResult


class EmbeddingResult(Struct, frozen=True, omit_defaults=True):
    """One vector for each text. `shape` is how many, and how long each is."""

    shape: list[int]
    data: list[list[float]]
    pooling: Pooling | None = None
