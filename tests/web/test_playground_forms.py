"""The playground's form: what the browser sends becomes messages, values to show again, and refusals by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from webapp.web.errors import InvalidFields
from webapp.web.playground import FormValues, HistoryMessage, _form_values, _past_turns, _read_form, _read_history
from webapp.web.request_fields import GenerationFields, MessageFields


def form(*history: object, **fields: str) -> MultiDict[str, str]:
    return MultiDict([*fields.items(), *(("history", json.dumps(message)) for message in history)])


def read(given: MultiDict[str, str]) -> GenerationFields:
    return _read_form(given, _read_history(given))


USER = {"role": "user", "content": "Hello"}
ASSISTANT = {"role": "assistant", "content": "Hi!"}


def test_system_prompt_history_and_prompt_become_the_messages_in_this_order() -> None:
    fields = read(form(USER, ASSISTANT, system="Be brief.", prompt="And now?"))

    assert fields.prompt is None
    assert fields.messages == [
        MessageFields("system", "Be brief."),
        MessageFields("user", "Hello"),
        MessageFields("assistant", "Hi!"),
        MessageFields("user", "And now?"),
    ]


@pytest.mark.parametrize("system", ["", "  ", "\r\n"])
def test_blank_system_prompt_is_none(system: str) -> None:
    assert read(form(prompt="Hi", system=system)).messages == [MessageFields("user", "Hi")]


@pytest.mark.parametrize("fields", [{}, {"prompt": ""}, {"prompt": " \r\n\t"}], ids=repr)
def test_blank_prompt_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidFields) as refused:
        read(form(USER, ASSISTANT, **fields))

    assert list(refused.value.fields) == ["prompt"]


def test_line_ends_are_those_that_were_typed() -> None:
    # A form sends each line end as CR LF, whatever was typed.
    given = form(prompt="a\r\nb\nc\rd", system="x\r\ny")

    assert read(given).messages == [MessageFields("system", "x\ny"), MessageFields("user", "a\nb\nc\rd")]
    assert (_form_values(given).prompt, _form_values(given).system) == ("a\nb\nc\rd", "x\ny")


def test_parameters_are_read_as_text_and_empty_ones_are_not_given() -> None:
    fields = read(form(prompt="Hi", temperature="0.5", top_k="7", top_p="", seed="", max_tokens="20"))

    assert (fields.temperature, fields.top_k, fields.max_tokens) == (0.5, 7, 20)
    assert (fields.top_p, fields.seed) == (None, None)


def test_every_bad_parameter_is_named() -> None:
    with pytest.raises(InvalidFields) as refused:
        read(form(prompt="Hi", temperature="hot", top_k="0", seed="12"))

    assert list(refused.value.fields) == ["temperature", "top_k"]


@pytest.mark.parametrize("name", ["messages", "options"])
def test_fields_that_the_form_does_not_have_are_ignored(name: str) -> None:
    assert read(form(prompt="Hi", **{name: "x"})) == read(form(prompt="Hi"))


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "not JSON",
        "null",
        "[]",
        '{"role": "user"}',
        '{"role": "user", "content": null}',
        '{"role": "user", "content": "x", "more": 1}',
        '{"role": "user", "content": "\\ud800"}',
        '{"role": "user", "content": ' + "[" * 100_000,
        "{" * 100_000,
    ],
    ids=lambda entry: entry[:40],
)
def test_history_that_cannot_be_read_is_refused_by_name(entry: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        _read_history(MultiDict([("history", entry)]))

    assert list(refused.value.fields) == ["history"]


def test_history_with_a_role_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidFields):
        read(form({"role": "robot", "content": "x"}, prompt="Hi"))


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=4))
def test_any_text_of_earlier_turns_comes_back_unchanged(contents: list[str]) -> None:
    messages = [{"role": "user", "content": content} for content in contents]

    assert [message.content for message in _read_history(form(*messages))] == contents


def test_composer_shows_again_what_was_typed_also_where_it_is_wrong() -> None:
    values = _form_values(form(prompt="<b>", temperature="hot", model="@no/such", csrf_token="secret"))

    assert values == FormValues(model="@no/such", prompt="<b>", temperature="hot")


def test_form_without_a_model_names_none() -> None:
    assert _form_values(form(prompt="Hi")).model == ""


def test_earlier_turns_are_pairs_and_a_lone_prompt_is_left_out() -> None:
    history = [HistoryMessage("user", "a"), HistoryMessage("assistant", "b"), HistoryMessage("user", "c")]

    (turn,) = _past_turns(history, "Title")

    assert (turn.prompt, turn.answer, turn.model_title) == ("a", "b", "Title")
