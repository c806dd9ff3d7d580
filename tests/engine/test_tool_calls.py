"""Tool calls as models of several families write them, whatever the pieces that their text comes in."""

import pytest

from webapp.engine.tool_calls import HERMES, LLAMA, MISTRAL, SMOLLM, ToolCallParser, ToolFormat, tool_format
from webapp.wire.generation import ToolCall

F = ToolCall("f", '{"a": 1}')
G = ToolCall("g", "{}")
WRITTEN_F = '{"name": "f", "arguments": {"a": 1}}'
WRITTEN_G = '{"name": "g", "arguments": {}}'

WITH_CALLS = [
    (HERMES, f"<tool_call>\n{WRITTEN_F}\n</tool_call>", "", [F]),
    (
        HERMES,
        f"Let me see.\n<tool_call>{WRITTEN_F}</tool_call>\n<tool_call>\n{WRITTEN_G}\n</tool_call>\n",
        None,
        [F, G],
    ),
    (HERMES, f"<tool_call>\n{WRITTEN_F}", "", [F]),
    (HERMES, f"One. <tool_call>{WRITTEN_G}</tool_call> Two. ", "One. Two. ", [G]),
    (HERMES, f" <tool_call>{WRITTEN_G}</tool_call> Two.", "Two.", [G]),
    (HERMES, f"<tool_call>{WRITTEN_G}</tool_", "", [G]),
    (HERMES, '<tool_call>{"name": "g"}</tool_call>', "", [G]),
    (HERMES, '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', "", [F]),
    (HERMES, '<tool_call>{"arguments": {"a": "}</tool_call>\\"{"}, "name": "f"}</tool_call>', "", None),
    (HERMES, '<tool_call>{"name": "f", "arguments": {"a": "é 🌋"}}</tool_call>', "", [ToolCall("f", '{"a": "é 🌋"}')]),
    (SMOLLM, f"<tool_call>[{WRITTEN_F}, {WRITTEN_G}]</tool_call>", "", [F, G]),
    (MISTRAL, f"[TOOL_CALLS] [{WRITTEN_F}, {WRITTEN_G}]", "", [F, G]),
    (MISTRAL, f"Now.[TOOL_CALLS][{WRITTEN_F}]", "Now.", [F]),
    (LLAMA, WRITTEN_F.replace("arguments", "parameters"), "", [F]),
    (LLAMA, "\n\n" + '{ "type": "function", "name": "f", "parameters": {"a": 1}}', "", [F]),
    (LLAMA, '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}', "", [F]),
    (LLAMA, '<|python_tag|>{"name": "f", "parameters": {"a": 1}}', "", [F]),
]

WITHOUT_CALLS = [
    (HERMES, "No tool is needed.\n"),
    (HERMES, "if a <b and <tool"),
    (HERMES, "It writes <tool_call> before a call."),
    (HERMES, '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>'),
    (HERMES, '<tool_call>{"name": "f", "arguments": [1]}</tool_call>'),
    (HERMES, '<tool_call>{"name": "f", "arguments": "no object"}</tool_call>'),
    (HERMES, '<tool_call>{"name": f}</tool_call> and on'),
    (HERMES, "<tool_call>{]</tool_call>"),
    (HERMES, '\n<tool_call>\n{"name": "f", "argu'),
    (SMOLLM, f'<tool_call>[{WRITTEN_F}, {{"name": "unknown"}}]</tool_call>'),
    (MISTRAL, "[TOOL_CALLS] none [TOOL"),
    (LLAMA, '{"city": "Paris"}'),
    (LLAMA, '{"name": "Ada", "age": 36}'),
    (LLAMA, f"First words. {WRITTEN_F}"),
    (LLAMA, "{"),
    (LLAMA, '{"na'),
    (LLAMA, "[1]"),
    (LLAMA, "  "),
]


def _parse(
    form: ToolFormat, pieces: list[str], *, skipped: int = 0, is_single: bool = False
) -> tuple[str, list[ToolCall]]:
    """Text and calls of a parser that has been fed the first `skipped` pieces before anybody listened."""
    parser = ToolCallParser(form, {"f", "g"}, is_single=is_single)
    for piece in pieces[:skipped]:
        parser.push(piece)
    said = [parser.push(piece) for piece in pieces[skipped:]]
    return "".join(one.text for one in said) + parser.flush(), [call for one in said for call in one.tool_calls]


@pytest.mark.parametrize(("form", "written", "text", "calls"), WITH_CALLS)
def test_calls_are_taken_out_of_the_text(form: ToolFormat, written: str, text: str | None, calls: list | None):
    found = _parse(form, [written])

    assert found[0] == ("Let me see." if text is None else text)
    assert found[1] == ([ToolCall("f", '{"a": "}</tool_call>\\"{"}')] if calls is None else calls)


@pytest.mark.parametrize(("form", "written"), WITHOUT_CALLS)
def test_what_only_looks_like_a_call_is_text_unchanged(form: ToolFormat, written: str):
    assert _parse(form, [written]) == (written, [])


@pytest.mark.parametrize(("form", "written"), [*((form, written) for form, written, *_ in WITH_CALLS), *WITHOUT_CALLS])
def test_the_pieces_that_a_text_comes_in_change_nothing(form: ToolFormat, written: str):
    whole = _parse(form, [written])

    assert _parse(form, list(written)) == whole
    for cut in range(1, len(written)):
        assert _parse(form, [written[:cut], written[cut:]]) == whole, cut


@pytest.mark.parametrize(("form", "written"), [*((form, written) for form, written, *_ in WITH_CALLS), *WITHOUT_CALLS])
def test_a_parser_that_is_fed_again_goes_on_where_the_first_ended(form: ToolFormat, written: str):
    pieces = list(written)
    whole = _parse(form, pieces)

    for cut in range(len(pieces)):
        first = ToolCallParser(form, {"f", "g"})
        said = [first.push(piece) for piece in pieces[:cut]]
        text, calls = _parse(form, pieces, skipped=cut)
        assert ("".join(one.text for one in said) + text, [c for one in said for c in one.tool_calls] + calls) == whole


def test_text_is_held_back_no_longer_than_it_may_become_a_call():
    parser = ToolCallParser(HERMES, {"f"})

    assert [parser.push(piece).text for piece in ("a ", "<tool", "box>", " b")] == ["a", "", " <toolbox>", " b"]


def test_a_call_is_there_with_its_last_brace():
    parser = ToolCallParser(HERMES, {"f"})

    assert parser.push(f"<tool_call>{WRITTEN_F[:-1]}").tool_calls == ()
    assert parser.push("}").tool_calls == (F,)


@pytest.mark.parametrize(
    ("form", "written"),
    [
        (HERMES, f"So: <tool_call>{WRITTEN_F}</tool_call><tool_call>{WRITTEN_G}"),
        (SMOLLM, f"So: <tool_call>[{WRITTEN_F},{WRITTEN_G}]"),
    ],
)
def test_the_only_call_ends_the_text(form: ToolFormat, written: str):
    assert _parse(form, list(written), is_single=True) == ("So:", [F])
    assert _parse(form, [written], is_single=True) == ("So:", [F])


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ('{% if tools %}within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{"name": <function-name>', HERMES),
        ('{% if tools %}<tool_call>[\\n{"name": "func_name1"', SMOLLM),
        ("{{ '[AVAILABLE_TOOLS] ' }}{{ '[TOOL_CALLS] [' }}", MISTRAL),
        ("{{- '<|python_tag|>' + tool_call.name }}", LLAMA),
        ('Respond in the format {"name": function name, "parameters": dictionary of argument name', LLAMA),
        ("<tool_call>\\n<function=example_function_name>", None),
        ("{{ '[TOOL_CALLS]' + name + '[ARGS]' + arguments }}", None),
        ("{{ message.content }}", None),
    ],
)
def test_the_form_is_what_the_chat_template_shows(template: str, form: ToolFormat | None):
    assert tool_format(template) == form
