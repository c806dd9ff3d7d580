"""Messages and tools as clients send them, in either of the shapes there are, and what they mean to the pool.

Workers AI and OpenAI differ in whether a function stands by itself or under `function`, and in whether its arguments
are an object or the text of one. Both shapes are read everywhere.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from webapp.web.errors import InvalidFields
from webapp.wire.generation import Message, Tool, ToolCall

# OpenAI's own limit. An engine makes a rule of each before it goes on with other generations.
MOST_TOOLS = 128
_json = msgspec.json.Encoder()


class TextPart(Struct, frozen=True):
    """One part of a message's content; only text can be read."""

    type: Literal["text"]
    text: str


class FunctionCallFields(Struct, frozen=True):
    name: str
    arguments: str | dict[str, Any] = "{}"


class ToolCallFields(Struct, frozen=True):
    """A call in an earlier turn: `{name, arguments}`, or `{id, type, function: {name, arguments}}`."""

    id: str | None = None
    type: str | None = None
    function: FunctionCallFields | None = None
    name: str | None = None
    arguments: str | dict[str, Any] = "{}"

    def __post_init__(self) -> None:
        if not self.function and not self.name:
            raise ValueError("A tool call needs a name")

    def to_tool_call(self) -> ToolCall:
        """The call, its arguments as text."""
        call = self.function or FunctionCallFields(self.name or "", self.arguments)
        arguments = call.arguments if isinstance(call.arguments, str) else _json.encode(call.arguments).decode()
        return ToolCall(call.name, arguments, self.id or "")


class MessageFields(Struct, frozen=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    # May be left out beside tool calls.
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCallFields] | None = None
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.content is None and not self.tool_calls:
            raise ValueError("A message needs content")

    def to_message(self) -> Message:
        """The message with its parts joined."""
        content = self.content or ""
        return Message(
            # OpenAI's newer name of the same.
            "system" if self.role == "developer" else self.role,
            content if isinstance(content, str) else "".join(part.text for part in content),
            tuple(call.to_tool_call() for call in self.tool_calls or ()),
            self.tool_call_id or "",
            self.name or "",
        )


def in_order_of_calls(messages: Iterable[MessageFields]) -> list[MessageFields]:
    """The same with results in the order of their calls: to many a template nothing else says which is whose."""
    ordered: list[MessageFields] = []
    for _, turns in groupby(messages, key=lambda message: message.role == "tool"):
        calls = (ordered[-1].tool_calls if ordered else None) or ()
        places = {call.id: place for place, call in enumerate(calls)}
        ordered += sorted(turns, key=lambda turn, places=places: places.get(turn.tool_call_id, len(places)))
    return ordered


class FunctionFields(Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolFields(Struct, frozen=True):
    """A tool: `{name, description, parameters}`, or `{type: "function", function: {…}}`."""

    type: Literal["function"] | None = None
    function: FunctionFields | None = None
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.function and not self.name:
            raise ValueError("A tool needs a name")

    def to_tool(self) -> Tool:
        """The tool."""
        function = self.function or FunctionFields(self.name or "", self.description, self.parameters)
        schema = function.parameters or {"type": "object", "properties": {}}
        return Tool(function.name, function.description or "", _json.encode(schema).decode())


Tools = Annotated[list[ToolFields], Meta(max_length=MOST_TOOLS)]


class FunctionName(Struct, frozen=True):
    name: str


class NamedTool(Struct, frozen=True):
    """The one tool that is to be called: `{type: "function", function: {name}}`, or `{type: "function", name}`."""

    type: Literal["function"]
    function: FunctionName | None = None
    name: str | None = None


ToolChoice = Literal["auto", "none", "required"] | NamedTool


def choose_tools(tools: Sequence[ToolFields], choice: ToolChoice | None) -> tuple[tuple[Tool, ...], bool]:
    """The tools that the model is to see, and whether it has to call one of them. Raises InvalidFields."""
    offered = tuple(tool.to_tool() for tool in tools)
    if isinstance(choice, NamedTool):
        wanted = choice.function.name if choice.function else choice.name
        named = tuple(tool for tool in offered if tool.name == wanted)
        if not named:
            raise InvalidFields({"tool_choice": "names no tool of tools"})
        return named, True
    if choice == "required" and not offered:
        raise InvalidFields({"tool_choice": "there are no tools to call"})
    return (() if choice == "none" else offered), choice == "required"
