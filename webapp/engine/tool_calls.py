"""Tool calls out of the model's own words: where they stand in the text, and what they ask for.

Knows text, nothing of token ids. How a model writes a call is said by its chat template.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from webapp.wire.generation import GenerationRequest, ToolCall

# How a call in Llama's form may begin; any other JSON at the start of an answer is an answer.
_BARE_STARTS = ('{"name"', '{"type"', '{"function"')
_LONGEST_BARE_START = 64


@dataclass(frozen=True)
class ToolFormat:
    """How a model writes its calls: `opening`, a JSON object (or a list of them), `closing`.

    With `is_bare` a call may also begin the answer without its opening, and is the only one. `arguments_key` names the
    arguments where the form is prescribed; both names are read.
    """

    opening: str
    closing: str = ""
    arguments_key: str = "arguments"
    is_list: bool = False
    is_bare: bool = False


# Nous Research's Hermes, Qwen 2.5 and 3: one call in each pair of tags.
HERMES = ToolFormat("<tool_call>", "</tool_call>")
# SmolLM2 (1.7B): all calls in one pair of tags, as a list.
SMOLLM = ToolFormat("<tool_call>", "</tool_call>", is_list=True)
# Mistral up to its tokenizer's version 7.
MISTRAL = ToolFormat("[TOOL_CALLS]", is_list=True)
# Llama 3.1 to 3.3: the call is the answer. Their templates refuse a turn with several.
LLAMA = ToolFormat("<|python_tag|>", arguments_key="parameters", is_bare=True)


def tool_format(chat_template: str) -> ToolFormat | None:
    """The form that a chat template, by its source, shows calls in; None where it is none that we read."""
    if "<function=" in chat_template or "[ARGS]" in chat_template:
        # Qwen 3 Coder, Mistral from version 11 on: other forms behind the same openings.
        return None
    if "<tool_call>" in chat_template:
        return SMOLLM if re.search(r"<tool_call>\s*\[", chat_template) else HERMES
    if "[TOOL_CALLS]" in chat_template:
        return MISTRAL
    is_llama = "<|python_tag|>" in chat_template or '{"name": function name, "parameters":' in chat_template
    return LLAMA if is_llama else None


class Said(NamedTuple):
    """What is certain now: text without markup, and the calls that have become whole."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()


class ToolCallParser:
    """Takes the calls out of a growing text, and holds back what may become one.

    A call is whole with its last brace. What only looks like a call (no JSON, no offered tool) is text, unchanged.
    Space around calls is markup. With `is_single` the first call ends the text.
    """

    def __init__(self, form: ToolFormat, names: Collection[str], *, is_single: bool = False) -> None:
        self._form = form
        self._names = names
        self._is_single = is_single or form.is_bare
        self._held = ""
        # Where a bare call may begin.
        self._is_at_start = True
        self._is_behind_call = False
        self._has_text = False
        self._is_closing = False
        self._scan: _JsonScan | None = None
        self.is_done = False

    def push(self, text: str) -> Said:
        self._held += text
        said, calls = "", []
        while not self.is_done:
            held_before = len(self._held), self._scan, self._is_closing
            if self._is_closing:
                self._close()
            elif self._scan:
                released, found = self._read_call(self._scan)
                said += released
                calls += found
            else:
                said += self._look_for_call()
            if (len(self._held), self._scan, self._is_closing) == held_before:
                break
        return Said(said, tuple(calls))

    def flush(self) -> str:
        """What was held back for a call that did not come."""
        if self.is_done or (self._is_behind_call and self._form.closing.startswith(self._held.strip())):
            return ""
        text, self._held = self._held, ""
        return text

    def _look_for_call(self) -> str:
        """The text that is certain; sets the scan where a call begins."""
        if self._is_behind_call and not self._has_text:
            self._held = self._held.lstrip()
        opening = self._held.find(self._form.opening)
        if opening >= 0:
            text = self._take(len(self._held[:opening].rstrip()))
            self._scan = _JsonScan(self._held.index(self._form.opening) + len(self._form.opening))
        elif self._form.is_bare and self._is_at_start and not self._held.lstrip().removeprefix("{"):
            return ""
        elif self._form.is_bare and self._is_at_start and _may_begin_bare(self._held.lstrip()):
            text = ""
            self._scan = _JsonScan(0)
        else:
            text = self._take(len(self._held) - self._possible_start())
        return self._show(text)

    def _read_call(self, scan: "_JsonScan") -> tuple[str, tuple[ToolCall, ...]]:
        """Text, where it was no call after all, or calls; neither before its end is there."""
        at = scan.start + len(self._held[scan.start :]) - len(self._held[scan.start :].lstrip())
        if at == len(self._held):
            return "", ()
        is_bare = scan.start == 0
        if self._held[at] not in "{[" or (is_bare and not _may_begin_bare(self._held[at:])):
            return self._release(max(scan.start, 1)), ()
        end = scan.end(self._held, at)
        if end is None:
            return "", ()
        calls = _read_calls(self._held[at:end], self._names)
        if not calls:
            return self._release(end), ()
        self._take(end)
        self._scan = None
        self._is_closing = self._is_behind_call = True
        self.is_done = self._is_single
        return "", calls[:1] if self._is_single else calls

    def _close(self) -> None:
        head = self._held.lstrip()
        closing = self._form.closing
        if head.startswith(closing):
            self._held = head[len(closing) :]
            self._is_closing = False
        elif not closing.startswith(head):
            self._is_closing = False

    def _release(self, count: int) -> str:
        """What is no call is text; what is behind it may be one."""
        self._scan = None
        return self._show(self._take(count))

    def _show(self, text: str) -> str:
        if text:
            self._has_text = True
            self._is_at_start = self._is_behind_call = False
        return text

    def _take(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        return text

    def _possible_start(self) -> int:
        """The length of the end that may belong to a call: the start of an opening, and the space before it."""
        opening = self._form.opening
        longest = min(len(self._held), len(opening) - 1)
        start = next((n for n in range(longest, 0, -1) if opening.startswith(self._held[-n:])), 0)
        before = self._held[: len(self._held) - start]
        return start + len(before) - len(before.rstrip())


def parser_for(request: GenerationRequest, form: ToolFormat) -> ToolCallParser | None:
    """The parser of a request's tools; None where it has none."""
    names = {tool.name for tool in request.tools}
    return ToolCallParser(form, names, is_single=not request.has_parallel_calls) if names else None


class _JsonScan:
    """Finds the end of a JSON object or list in a growing text, reading each character once."""

    def __init__(self, start: int) -> None:
        self.start = start
        self._at: int | None = None
        self._depth = 0
        self._is_string = False
        self._is_escaped = False

    def end(self, text: str, at: int) -> int | None:
        """The index behind the value that begins at `at`; None while it is open."""
        for index in range(at if self._at is None else self._at, len(text)):
            character = text[index]
            if self._is_string:
                self._is_string = self._is_escaped or character != '"'
                self._is_escaped = character == "\\" and not self._is_escaped
            elif character == '"':
                self._is_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if not self._depth:
                    return index + 1
        self._at = len(text)
        return None


class _Call(Struct):
    name: str
    arguments: Raw = Raw()
    parameters: Raw = Raw()


def _read_calls(text: str, names: Collection[str]) -> tuple[ToolCall, ...]:
    """The calls of an object or a list of objects; none where one of them is no call of an offered tool."""
    try:
        found = msgspec.json.decode(text, type=_Call | list[_Call])
        calls = [_tool_call(one) for one in (found if isinstance(found, list) else [found])]
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return ()
    return tuple(calls) if all(call.name in names for call in calls) else ()


def _tool_call(call: _Call) -> ToolCall:
    """Raises MsgspecError where the arguments are no JSON object. Some models write that object as a string."""
    raw = bytes(call.arguments) or bytes(call.parameters) or b"{}"
    value = msgspec.json.decode(raw, type=dict | str)
    arguments = value if isinstance(value, str) else raw.decode()
    msgspec.json.decode(arguments, type=dict)
    return ToolCall(call.name, arguments)


def _may_begin_bare(text: str) -> bool:
    head = re.sub(r"\s", "", text[:_LONGEST_BARE_START])
    return any(start.startswith(head) or head.startswith(start) for start in _BARE_STARTS)
