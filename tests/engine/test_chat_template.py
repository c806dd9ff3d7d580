"""Prompts through the starter's own template, and through none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tests.engine.driving import request
from webapp.engine.chat_template import offered_form, prompt_token_ids
from webapp.engine.errors import FeatureUnsupported, InvalidPrompt
from webapp.engine.tool_calls import HERMES
from webapp.wire.generation import Message, Tool, ToolCall


@pytest.fixture
def changeable(tokenizer: PreTrainedTokenizerFast) -> Iterator[PreTrainedTokenizerFast]:
    """The tokenizer, its chat template put back afterwards."""
    template = tokenizer.chat_template
    yield tokenizer
    tokenizer.chat_template = template


def _text(tokenizer: PreTrainedTokenizerFast, **fields: Any) -> str:
    text = tokenizer.decode(prompt_token_ids(tokenizer, request(**fields)))
    assert isinstance(text, str)
    return text


def test_a_prompt_becomes_one_user_message(tokenizer: PreTrainedTokenizerFast):
    text = _text(tokenizer, prompt="Hi")

    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_messages_keep_their_roles(tokenizer: PreTrainedTokenizerFast):
    messages = (Message("system", "Be brief."), Message("user", "A"), Message("assistant", "B"), Message("user", "C"))

    text = _text(tokenizer, prompt=None, messages=messages)

    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nA<|im_end|>\n"
        "<|im_start|>assistant\nB<|im_end|>\n<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_raw_prompt_is_read_as_it_is(tokenizer: PreTrainedTokenizerFast):
    assert _text(tokenizer, prompt="  Once upon", raw=True) == "  Once upon"


def test_a_model_without_a_template_reads_a_transcript(changeable: PreTrainedTokenizerFast):
    changeable.chat_template = None

    text = _text(changeable, prompt=None, messages=(Message("system", "Be brief."), Message("user", "Hi")))

    assert text == "System: Be brief.\nUser: Hi\nAssistant:"


def test_what_the_template_refuses_is_an_invalid_prompt(changeable: PreTrainedTokenizerFast):
    changeable.chat_template = "{{ raise_exception('Roles must alternate.') }}"

    with pytest.raises(InvalidPrompt, match="Roles must alternate"):
        prompt_token_ids(changeable, request("Hi"))


def test_an_empty_raw_prompt_is_invalid(tokenizer: PreTrainedTokenizerFast):
    with pytest.raises(InvalidPrompt):
        prompt_token_ids(tokenizer, request("", raw=True))


@pytest.mark.parametrize("raw", [True, False])
def test_a_template_or_prompt_with_its_own_bos_gets_no_second_one(changeable: PreTrainedTokenizerFast, raw: bool):
    bos = changeable.bos_token_id
    assert isinstance(bos, int)
    backend = changeable.backend_tokenizer
    before = backend.post_processor
    backend.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)])
    changeable.chat_template = "<|im_start|>{{ messages[0].content }}"
    try:
        with_bos = prompt_token_ids(changeable, request("<|im_start|>Hi" if raw else "Hi", raw=raw))
    finally:
        backend.post_processor = before

    assert with_bos.count(bos) == 1
    assert with_bos[0] == bos


_TOOL = Tool("weather", "Of a city.", '{"type": "object", "properties": {"city": {"type": "string"}}}')
_ASKED = (
    Message("user", "How is Paris?"),
    Message(
        "assistant",
        "",
        tool_calls=(ToolCall("weather", '{"city": "Genève"}', "call_1"), ToolCall("weather", "not JSON")),
    ),
    Message("tool", "Snow", tool_call_id="call_1"),
    Message("tool", "Rain", tool_call_id="call_2"),
)


@pytest.fixture
def hermes(changeable: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    changeable.chat_template = Path(__file__).with_name("hermes.jinja").read_text("utf-8")
    return changeable


def test_tools_are_shown_as_the_template_has_them(hermes: PreTrainedTokenizerFast):
    text = _text(hermes, prompt="Hi", tools=(_TOOL,))

    shown = json.loads(text.split("<tools>\n")[1].split("\n</tools>")[0])
    function = {"name": "weather", "description": "Of a city.", "parameters": json.loads(_TOOL.parameters)}
    assert shown == {"type": "function", "function": function}
    assert offered_form(hermes, request("Hi", tools=(_TOOL,))) is HERMES
    assert offered_form(hermes, request("Hi")) is None


def test_calls_and_their_results_are_shown_as_the_template_has_them(hermes: PreTrainedTokenizerFast):
    text = _text(hermes, prompt=None, messages=_ASKED, tools=(_TOOL,))

    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "Genève"}}\n</tool_call>' in text
    assert '<tool_call>\n{"name": "weather", "arguments": not JSON}\n</tool_call>' in text
    assert "<tool_response>\nSnow\n</tool_response>" in text


@pytest.mark.parametrize(
    ("call_ids", "result_ids", "answered"),
    [
        (("a", "b"), ("a", "b"), (0, 1)),
        (("a", "b"), ("b", "a"), (1, 0)),
        (("a", "b"), ("b",), (1,)),
        (("", ""), ("", ""), (0, 1)),
        (("", ""), ("x", "y"), (0, 1)),
        (("a", "b"), ("", "a"), (0, None)),
        (("a", ""), ("c", "a"), (1, 0)),
    ],
)
def test_a_result_has_the_name_and_the_id_of_its_call(
    changeable: PreTrainedTokenizerFast,
    call_ids: tuple[str, ...],
    result_ids: tuple[str, ...],
    answered: tuple[int | None, ...],
):
    changeable.chat_template = (
        "{% for message in messages %}{% for call in message.tool_calls %}{{ call.id }}={{ call.function.name }} "
        "{% endfor %}{{ message.tool_call_id }}={{ message.name }};{% endfor %}"
    )
    calls = tuple(ToolCall(f"f{at}", "{}", call_id) for at, call_id in enumerate(call_ids))
    results = tuple(Message("tool", "Snow", tool_call_id=result_id) for result_id in result_ids)
    messages = (Message("user", "Hi"), Message("assistant", "", tool_calls=calls), *results)

    turns = [turn.split() for turn in _text(changeable, prompt=None, messages=messages).split(";")]

    asked = turns[1][:2]
    assert [asked.index(turn[0]) if turn[0] in asked else None for turn in turns[2 : 2 + len(results)]] == list(
        answered
    )
    assert len(set(asked)) == 2
    assert {len(call.split("=")[0]) for call in asked} == {9}


@pytest.mark.parametrize("template", [None, "{{ messages[0].content }}", "{{ messages[0].content }} no tools here"])
@pytest.mark.parametrize("fields", [{"tools": (_TOOL,)}, {"prompt": None, "messages": _ASKED}])
def test_a_template_that_takes_no_tools_says_so(
    changeable: PreTrainedTokenizerFast, template: str | None, fields: dict[str, Any]
):
    changeable.chat_template = template
    asked = request(**fields)

    with pytest.raises(FeatureUnsupported, match="The chat template of starter takes no tool"):
        offered_form(changeable, asked)
        prompt_token_ids(changeable, asked)


def test_a_form_of_calls_that_is_not_read_says_so(changeable: PreTrainedTokenizerFast):
    changeable.chat_template = "{% if tools %}<tool_call><function=name>{% endif %}"

    with pytest.raises(FeatureUnsupported, match="form not read here"):
        offered_form(changeable, request("Hi", tools=(_TOOL,)))


def test_of_several_templates_the_one_for_tools_is_used(changeable: PreTrainedTokenizerFast):
    changeable.chat_template = {  # pyright: ignore[reportAttributeAccessIssue]
        "default": "{{ messages[0].content }}",
        "tool_use": "<tool_call>{% for tool in tools %}{{ tool.function.name }}{% endfor %}",
    }

    assert _text(changeable, prompt="Hi") == "Hi"
    assert _text(changeable, prompt="Hi", tools=(_TOOL,)) == "<tool_call>weather"
    assert offered_form(changeable, request("Hi", tools=(_TOOL,))) is HERMES


def test_a_raw_prompt_never_sees_tools(hermes: PreTrainedTokenizerFast):
    assert _text(hermes, prompt="Once", raw=True, tools=(_TOOL,)) == "Once"
    assert offered_form(hermes, request("Once", raw=True, tools=(_TOOL,))) is None


def test_tools_that_a_template_stumbles_over_are_an_invalid_prompt(changeable: PreTrainedTokenizerFast):
    changeable.chat_template = (
        "{% for name in tools[0].function.parameters.properties.items() %}{{ 1 + name }}{% endfor %}"
    )

    with pytest.raises(InvalidPrompt):
        prompt_token_ids(changeable, request("Hi", tools=(_TOOL,)))
