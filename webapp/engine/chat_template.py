"""What was asked to the token ids of a prompt, through the model's own chat template."""

import hashlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from webapp.engine.errors import FeatureUnsupported, InvalidPrompt
from webapp.engine.tool_calls import ToolFormat, tool_format
from webapp.wire.generation import GenerationRequest, Message, Tool, ToolCall

# A template that is given tools uses the variable of that name.
_USES_TOOLS = re.compile(r"\{[{%][^{}]*\btools\b")
# What Jinja and the filters of a template raise for messages or tools that it does not foresee.
_TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, RecursionError)
# Mistral's templates take no other length.
_CALL_ID_LENGTH = 9


def prompt_token_ids(tokenizer: PreTrainedTokenizerFast, request: GenerationRequest) -> list[int]:
    """The prompt as the model reads it: at least one token id. Raises InvalidPrompt, FeatureUnsupported.

    A raw prompt is tokenised as it is, with the special tokens the tokenizer adds by itself; any other
    goes through the chat template, which writes its own.
    """
    if is_raw(request):
        token_ids = _without_second_bos(tokenizer, _encode(tokenizer, request.prompt or "", add_special_tokens=True))
    else:
        text = _render(tokenizer, request)
        has_template = tokenizer.chat_template is not None
        token_ids = _encode(tokenizer, text, add_special_tokens=not has_template)
    if not token_ids:
        raise InvalidPrompt("The prompt is empty.")
    return token_ids


def is_raw(request: GenerationRequest) -> bool:
    """Whether the prompt goes past the chat template; there is no place for tools then."""
    return request.raw and request.prompt is not None


def offered_form(tokenizer: PreTrainedTokenizerFast, request: GenerationRequest) -> ToolFormat | None:
    """How the model writes calls of the tools that it is offered; None where it is offered none.

    Raises FeatureUnsupported where its template takes none, or shows calls in a form that nobody here reads.
    """
    if not request.tools or is_raw(request):
        return None
    template = _template(tokenizer, request.tools)
    if not _USES_TOOLS.search(template):
        raise FeatureUnsupported(f"The chat template of {request.model} takes no tools.")
    form = tool_format(template)
    if not form:
        raise FeatureUnsupported(f"The chat template of {request.model} shows tool calls in a form not read here.")
    return form


def _render(tokenizer: PreTrainedTokenizerFast, request: GenerationRequest) -> str:
    messages = request.messages or (Message("user", request.prompt or ""),)
    has_calls = any(message.tool_calls for message in messages)
    if has_calls and "tool_calls" not in _template(tokenizer, request.tools):
        # It would leave them out, and the model would not know what the results are of.
        raise FeatureUnsupported(f"The chat template of {request.model} takes no tool calls.")
    if tokenizer.chat_template is None:
        return _transcript(messages)
    # To transformers they may also be Python functions.
    tools: list[dict[Any, Any] | Callable[..., Any]] = [_tool(tool) for tool in request.tools]
    turns = _turns(messages)
    try:
        text = tokenizer.apply_chat_template(turns, tools=tools or None, tokenize=False, add_generation_prompt=True)
    except _TEMPLATE_ERRORS as error:
        raise InvalidPrompt(f"The model's chat template refuses these messages: {error}") from error
    assert isinstance(text, str)
    return text


def _template(tokenizer: PreTrainedTokenizerFast, tools: tuple[Tool, ...]) -> str:
    """The source of the template that is used; empty where the model has none."""
    if tokenizer.chat_template is None:
        return ""
    return tokenizer.get_chat_template(tools=[_tool(tool) for tool in tools] or None)


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": msgspec.json.decode(tool.parameters)}
    return {"type": "function", "function": function}


def _turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    unanswered: list[_Asked] = []
    for place, message in enumerate(messages):
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            calls = enumerate(message.tool_calls)
            unanswered = [_Asked(call, _short_id(call.call_id or f"{place}.{at}")) for at, call in calls]
            turn["tool_calls"] = [_call(asked) for asked in unanswered]
        if message.role == "tool":
            asked = _answered(message, unanswered)
            if asked:
                unanswered.remove(asked)
            turn["tool_call_id"] = asked.short_id if asked else _short_id(message.tool_call_id)
            turn["name"] = message.name or (asked.call.name if asked else "")
        turns.append(turn)
    return turns


class _Asked(NamedTuple):
    call: ToolCall
    short_id: str


def _answered(message: Message, unanswered: list[_Asked]) -> _Asked | None:
    """The call that a tool's turn answers: by its id where both have one, else the first."""
    given = message.tool_call_id
    same = [asked for asked in unanswered if given and asked.call.call_id == given]
    nameless = [asked for asked in unanswered if not (given and asked.call.call_id)]
    return next(iter(same + nameless), None)


def _call(asked: _Asked) -> dict[str, Any]:
    call = asked.call
    try:
        arguments = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        # What a client says that the model said.
        arguments = call.arguments
    return {"id": asked.short_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _short_id(call_id: str) -> str:
    return hashlib.sha256(call_id.encode()).hexdigest()[:_CALL_ID_LENGTH]


def _transcript(messages: tuple[Message, ...]) -> str:
    """A plain conversation, for a model without a chat template."""
    turns = [f"{message.role.capitalize()}: {message.content}\n" for message in messages]
    return "".join(turns) + "Assistant:"


def _encode(tokenizer: PreTrainedTokenizerFast, text: str, *, add_special_tokens: bool) -> list[int]:
    # verbose=False: no warning about a text longer than the model; the runner checks the length.
    return tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)["input_ids"]


def _without_second_bos(tokenizer: PreTrainedTokenizerFast, token_ids: list[int]) -> list[int]:
    """A raw prompt that was written with its BOS gets no second one from the tokenizer."""
    bos = tokenizer.bos_token_id
    return token_ids[1:] if bos is not None and token_ids[:2] == [bos, bos] else token_ids
