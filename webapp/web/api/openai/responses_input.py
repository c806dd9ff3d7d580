"""The `input` of OpenAI's Responses route: a text, or items that become the turns of a conversation.

Knows no other field. Source: OpenAI's API reference (Responses, create) and the types of its Python SDK.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from webapp.web.conversation_fields import FunctionCallFields, MessageFields, TextPart, ToolCallFields
from webapp.web.errors import InvalidFields
from webapp.web.fields import in_words

S = TypeVar("S", bound=Struct)


class MessageItem(Struct, frozen=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[dict[str, Any]]


class FunctionCallItem(Struct, frozen=True):
    """A call that the model has asked for in an earlier turn."""

    call_id: Annotated[str, Meta(min_length=1)]
    name: Annotated[str, Meta(min_length=1)]
    arguments: str


class FunctionCallOutputItem(Struct, frozen=True):
    """What came of that call."""

    call_id: str
    output: str | list[dict[str, Any]]


def to_messages(given: str | list[dict[str, Any]], instructions: str | None) -> list[MessageFields]:
    """The conversation that the items are, `instructions` first. Raises InvalidFields."""
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    messages: list[MessageFields] = []
    if instructions:
        messages.append(MessageFields("system", instructions))
    names: dict[str, str] = {}
    for index, item in enumerate(items):
        _append(messages, _to_message(item, f"input[{index}]", names))
    if not messages:
        raise InvalidFields({"input": "must hold at least one message"})
    return messages


def read_object(kind: type[S], item: Mapping[str, Any], where: str) -> S:
    """The object as a `kind`; what is wrong with it is named after `where` it stands. Raises InvalidFields."""
    try:
        return msgspec.convert(item, kind)
    except msgspec.ValidationError as error:
        raise InvalidFields({where: in_words(error, kind)}) from None


def _to_message(item: Mapping[str, Any], where: str, names: dict[str, str]) -> MessageFields | None:
    """The turn, or the part of one, that the item is; `names` are those of the calls so far, by their ids."""
    kind = item.get("type") or "message"
    match kind:
        case "message":
            message = read_object(MessageItem, item, where)
            return MessageFields(message.role, _text(message.content, f"{where}.content"))
        case "function_call":
            call = read_object(FunctionCallItem, item, where)
            names[call.call_id] = call.name
            made = ToolCallFields(call.call_id, "function", FunctionCallFields(call.name, call.arguments))
            return MessageFields("assistant", None, tool_calls=[made])
        case "function_call_output":
            answer = read_object(FunctionCallOutputItem, item, where)
            if answer.call_id not in names:
                # OpenAI's own words.
                raise InvalidFields(
                    {where: f"No tool call found for function call output with call_id {answer.call_id}"}
                )
            text = _text(answer.output, f"{where}.output")
            return MessageFields("tool", text, name=names[answer.call_id], tool_call_id=answer.call_id)
        case "reasoning":
            # Clients send a whole earlier answer back. What another model thought on the way is not part of the talk.
            return None
        case "item_reference":
            # With store false, clients send the items themselves.
            raise InvalidFields({where: "answers are not kept here; send the item itself, and store as false"})
        case _:
            raise InvalidFields({where: f"items of type {kind} cannot be read, only messages and function calls"})


def _append(messages: list[MessageFields], message: MessageFields | None) -> None:
    """Add it, or make it one with the turn before: templates know one system turn, and calls beside what was said."""
    if message is None:
        return
    last = messages[-1] if messages else None
    is_system = message.role in ("system", "developer")
    if last and is_system and len(messages) == 1 and last.role in ("system", "developer"):
        messages[-1] = MessageFields("system", f"{last.content}\n\n{message.content}")
    elif last and message.tool_calls and last.role == "assistant":
        calls = [*(last.tool_calls or ()), *message.tool_calls]
        messages[-1] = MessageFields("assistant", last.content, tool_calls=calls)
    else:
        messages.append(message)


def _text(content: str | Iterable[Mapping[str, Any]], where: str) -> str:
    if isinstance(content, str):
        return content
    return "".join(_part_text(part, f"{where}[{index}]") for index, part in enumerate(content))


def _part_text(part: Mapping[str, Any], where: str) -> str:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return read_object(TextPart, {**part, "type": "text"}, where).text
        case "refusal":
            return read_object(TextPart, {"type": "text", "text": part.get("refusal")}, where).text
        case "input_image" | "input_file" | "input_audio" as kind:
            raise InvalidFields({where: f"{kind} cannot be read by these models, only input_text"})
        case _:
            raise InvalidFields({f"{where}.type": "must be input_text or output_text"})
