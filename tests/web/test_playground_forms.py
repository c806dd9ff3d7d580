"""The playground's form: what the browser sends becomes messages, values to show again, and refusals by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from tests.web.conftest import MODELS
from webapp.catalog import read_catalog
from webapp.web.errors import InvalidFields
from webapp.web.playground_forms import (
    MOST_MESSAGES,
    PARAMETERS,
    FormValues,
    HistoryMessage,
    form_of,
    form_values,
    read_form,
    read_history,
    read_messages,
    read_setup,
)
from webapp.web.playground_turns import past_turns
from webapp.web.request_fields import GenerationFields, MessageFields, to_request
from webapp.web.suggestions import PRESETS


def form(*history: object, **fields: str) -> MultiDict[str, str]:
    return MultiDict([*fields.items(), *(("history", json.dumps(message)) for message in history)])


def read(given: MultiDict[str, str]) -> GenerationFields:
    return read_form(given, read_history(given))


USER = {"role": "user", "content": "Hello"}
ASSISTANT = {"role": "assistant", "content": "Hi!"}


def test_history_has_so_many_messages_at_most():
    assert len(read_history(form(*[USER, ASSISTANT] * (MOST_MESSAGES // 2)))) == MOST_MESSAGES

    with pytest.raises(InvalidFields) as refused:
        read_history(form(*[USER] * (MOST_MESSAGES + 1)))

    assert refused.value.fields == {"history": "must have at most 300 messages"}


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
    assert (form_values(given).prompt, form_values(given).system) == ("a\nb\nc\rd", "x\ny")


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
        read_history(MultiDict([("history", entry)]))

    assert list(refused.value.fields) == ["history"]


def test_history_with_a_role_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidFields):
        read(form({"role": "robot", "content": "x"}, prompt="Hi"))


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=4))
def test_any_text_of_earlier_turns_comes_back_unchanged(contents: list[str]) -> None:
    messages = [{"role": "user", "content": content} for content in contents]

    assert [message.content for message in read_history(form(*messages))] == contents


def test_composer_shows_again_what_was_typed_also_where_it_is_wrong() -> None:
    values = form_values(form(prompt="<b>", temperature="hot", model="@no/such", csrf_token="secret"))

    assert values == FormValues(model="@no/such", prompt="<b>", temperature="hot")


def test_form_without_a_model_names_none() -> None:
    assert form_values(form(prompt="Hi")).model == ""


def test_earlier_turns_are_pairs_and_a_lone_prompt_is_left_out() -> None:
    history = [HistoryMessage("user", "a"), HistoryMessage("assistant", "b"), HistoryMessage("user", "c")]

    (turn,) = past_turns(history, "Title")

    assert (turn.prompt, turn.answer, turn.model_title) == ("a", "b", "Title")


def test_prompt_that_is_still_empty_can_be_counted() -> None:
    given = form(USER, ASSISTANT, system="Be brief.", temperature="hot")

    assert [message.role for message in read_messages(given, read_history(given)).messages or ()] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


def test_link_fills_the_form_and_names_what_cannot_be_used() -> None:
    query = {"temperature": "9", "top_k": "7", "seed": "-1", "max_tokens": "", "prompt": "hidden", "utm_source": "x"}

    setup, problem = read_setup(query, FormValues(model="m"))

    assert setup == FormValues(model="m", top_k="7")
    assert problem is not None
    assert list(problem.fields) == ["temperature", "seed"]


@given(st.dictionaries(st.sampled_from(PARAMETERS), st.text(st.characters(codec="utf-8"))))
def test_any_link_gives_a_form(query: dict[str, str]) -> None:
    setup, problem = read_setup(query, FormValues(model="m"))

    for name, value in query.items():
        assert getattr(setup, name) == value or not value or (problem and name in problem.fields)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"temperature": "0", "seed": "31", "max_tokens": "7"},
        {"temperature": "1.25", "top_p": "0.9", "top_k": "40", "repetition_penalty": "1.1", "seed": "9999999999"},
    ],
    ids=["defaults", "greedy", "all"],
)
def test_form_of_a_request_asks_for_the_same_again(parameters: dict[str, str]) -> None:
    catalog = read_catalog(MODELS)
    entry = catalog.find("@jeton/scripted")
    given = form(USER, ASSISTANT, prompt="And now?", system="Be brief.", **parameters)
    request = to_request(read(given), entry, entry)

    values, history = form_of(request, entry.name)

    assert history == [HistoryMessage(**USER), HistoryMessage(**ASSISTANT)]
    assert (values.prompt, values.system, values.model) == ("And now?", "Be brief.", entry.name)
    again = form(USER, ASSISTANT, **{name: text for name, text in vars(values).items() if name != "model"})
    assert to_request(read(again), entry, entry) == request


def test_presets_name_fields_of_the_form() -> None:
    for preset in PRESETS:
        assert set(preset.values) <= set(PARAMETERS)
        _, problem = read_setup(preset.values, FormValues(model=""))
        assert problem is None
