"""The body of OpenAI's Responses route: its fields, the generation they ask for, and what the answer repeats of them.

Source: OpenAI's API reference (Responses, create) and the types of its Python SDK. Knows no HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from webapp.catalog import CatalogEntry
from webapp.web.api.openai.fields import SamplingFields, check_max_tokens
from webapp.web.api.openai.responses_input import read_object, to_messages
from webapp.web.conversation_fields import MOST_TOOLS, NamedTool, ToolChoice, ToolFields
from webapp.web.errors import InvalidFields
from webapp.web.fields import read_struct
from webapp.web.request_fields import GenerationFields, ResponseFormat, Text
from webapp.wire.generation import GenerationRequest

INCLUDE_LOGPROBS = "message.output_text.logprobs"
# Not ignored: without what they ask for, the answer would be another one.
_REFUSED = {
    "previous_response_id": "answers are not kept here; send the whole conversation as input",
    "conversation": "no conversations are kept here; send the whole of it as input",
    "background": "an answer is made while its reader waits for it, streamed or whole",
    "prompt": "no templates of prompts are kept here; send instructions and input",
}

MetadataValue = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[Annotated[str, Meta(max_length=64)], MetadataValue], Meta(max_length=16)]


class TextFormat(Struct, frozen=True):
    """What the text has to be; `schema` and what follows are for `json_schema`."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        if self.type == "json_schema" and (self.schema is None or not self.name):
            raise ValueError("A json_schema needs a name and a schema")


class TextConfig(Struct, frozen=True):
    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class FunctionTool(Struct, frozen=True, kw_only=True):
    """A tool in this route's shape, which has no `function` around it."""

    type: Literal["function"]
    name: Text
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class AllowedTools(Struct, frozen=True):
    """Some of the tools: `{type: "allowed_tools", mode, tools: [{type: "function", name}]}`."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class ResponseFields(SamplingFields, frozen=True, kw_only=True):
    """A request for a response. None means not given."""

    model: Text
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    text: TextConfig | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=MOST_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    # Answers are not kept, whatever is asked here.
    store: bool | None = None
    # These are refused with a sentence.
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    background: bool | None = None
    prompt: dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def logprobs(self) -> int | None:
        """How many of the likeliest tokens are asked for at each place; None where no log-probabilities are."""
        is_asked = bool(self.top_logprobs) or INCLUDE_LOGPROBS in (self.include or ())
        return self.top_logprobs or 0 if is_asked else None

    @property
    def text_format(self) -> TextFormat:
        return (self.text and self.text.format) or TextFormat()


def read_fields(given: Mapping[str, object]) -> ResponseFields:
    """The typed fields. Raises InvalidFields, also for what this server does not do."""
    fields = read_struct(ResponseFields, given)
    bad = {name: reason for name, reason in _REFUSED.items() if getattr(fields, name)}
    if fields.truncation == "auto":
        bad["truncation"] = "nothing is dropped from a conversation here; only disabled is possible"
    if bad:
        raise InvalidFields(bad)
    return fields


def to_generation_fields(fields: ResponseFields, entry: CatalogEntry) -> GenerationFields:
    """What every dialect's request comes to. Raises InvalidFields."""
    tools, choice = _choose(_read_tools(fields.tools), _read_choice(fields.tool_choice))
    text = fields.text_format
    return msgspec.structs.replace(
        fields.sampling(),
        messages=to_messages(fields.input, fields.instructions),
        max_tokens=check_max_tokens("max_output_tokens", fields.max_output_tokens, entry),
        response_format=ResponseFormat(text.type, text.schema),
        tools=[ToolFields(name=tool.name, description=tool.description, parameters=tool.parameters) for tool in tools],
        tool_choice=choice,
        parallel_tool_calls=fields.parallel_tool_calls,
    )


def repeated(fields: ResponseFields, request: GenerationRequest) -> dict[str, object]:
    """What a response repeats of its request, with the values that were used where none were given."""
    text = fields.text_format
    return {
        "background": False,
        "frequency_penalty": request.frequency_penalty,
        "instructions": fields.instructions,
        "max_output_tokens": fields.max_output_tokens,
        "max_tool_calls": fields.max_tool_calls,
        "metadata": fields.metadata or {},
        "model": fields.model,
        "parallel_tool_calls": request.has_parallel_calls,
        "presence_penalty": request.presence_penalty,
        "previous_response_id": None,
        "prompt_cache_key": fields.prompt_cache_key,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": fields.safety_identifier,
        "service_tier": "default",
        "store": False,
        "temperature": request.temperature,
        "text": {"format": _text_format(text), "verbosity": (fields.text and fields.text.verbosity) or "medium"},
        "tool_choice": fields.tool_choice or "auto",
        "tools": _read_tools(fields.tools),
        "top_logprobs": fields.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "user": fields.user,
    }


def _read_tools(given: Sequence[Mapping[str, Any]] | None) -> list[FunctionTool]:
    return [_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(given or ())]


def _read_tool(tool: Mapping[str, Any], where: str) -> FunctionTool:
    kind = tool.get("type")
    if isinstance(kind, str) and kind != "function":
        raise InvalidFields({where: f"this server has no {kind}, only tools of type function"})
    return read_object(FunctionTool, tool, where)


def _choose(
    tools: list[FunctionTool], choice: ToolChoice | AllowedTools | None
) -> tuple[list[FunctionTool], ToolChoice | None]:
    if not isinstance(choice, AllowedTools):
        return tools, choice
    allowed = {named.name for named in choice.tools}
    return [tool for tool in tools if tool.name in allowed], choice.mode


def _read_choice(choice: str | Mapping[str, Any] | None) -> ToolChoice | AllowedTools | None:
    match choice:
        case None | "auto" | "none" | "required":
            return choice
        case {"type": "allowed_tools"}:
            return read_object(AllowedTools, choice, "tool_choice")
        case {"type": "function"}:
            return read_object(NamedTool, choice, "tool_choice")
        case _:
            raise InvalidFields(
                {"tool_choice": "must be auto, none, required, or an object of type function or allowed_tools"}
            )


def _text_format(text: TextFormat) -> dict[str, object]:
    if text.type != "json_schema":
        return {"type": text.type}
    return {
        "type": text.type,
        "description": text.description,
        "name": text.name,
        "schema": text.schema,
        "strict": bool(text.strict),
    }
