"""What the fields of a Responses request mean to a generation."""

import msgspec
import pytest

from webapp.catalog import CatalogEntry, Weights
from webapp.web.api.openai.responses_fields import read_fields, to_generation_fields
from webapp.web.errors import InvalidFields
from webapp.web.request_fields import to_request
from webapp.wire.generation import GenerationRequest, Message, Tool

ENTRY = CatalogEntry(
    name="@a/b",
    title="b",
    description="",
    weights=Weights(scripted=True),
    precision="scripted",
    context_window=2048,
    sequence_length=1000,
    slots=1,
)
TOOLS = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("one", "two")]


def ask(**given: object) -> GenerationRequest:
    fields = read_fields({"model": "@a/b", "input": "Hi"} | given)
    return to_request(to_generation_fields(fields, ENTRY), ENTRY, ENTRY, logprobs=fields.logprobs)


def test_what_is_not_given_is_as_the_published_api_has_it():
    request = ask()

    assert request.messages == (Message("user", "Hi"),)
    assert (request.temperature, request.top_p, request.max_tokens) == (1.0, 1.0, ENTRY.sequence_length)
    assert (request.json_schema, request.tools, request.logprobs) == (None, (), None)
    assert (request.has_to_call, request.has_parallel_calls) == (False, True)


def test_limits_and_sampling_are_taken():
    others = {"frequency_penalty": 0.5, "presence_penalty": -0.5, "repetition_penalty": 1.5, "min_p": 0.25, "top_k": 7}
    request = ask(
        max_output_tokens=5, temperature=0, top_p=0, instructions="Be brief.", parallel_tool_calls=False, **others
    )

    assert (request.max_tokens, request.temperature, request.top_p) == (5, 0.0, 0.001)
    assert request.messages[0] == Message("system", "Be brief.")
    assert not request.has_parallel_calls
    assert {name: getattr(request, name) for name in others} == others


@pytest.mark.parametrize(("given", "seed"), [(7, 7), (1, 1), (0, 9_999_999_999), (10**30, 1), (-1, 9_999_999_998)])
def test_any_whole_number_is_a_seed(given: int, seed: int):
    assert ask(seed=given).seed == seed


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "name": "n", "schema": {"type": "array"}, "strict": True}, {"type": "array"}),
    ],
)
def test_format_of_the_text_is_the_schema_of_the_answer(given: dict, schema: dict | None):
    asked = ask(text={"format": given}).json_schema

    assert (asked and msgspec.json.decode(asked)) == schema


@pytest.mark.parametrize(
    ("choice", "names", "has_to_call"),
    [
        (None, ["one", "two"], False),
        ("auto", ["one", "two"], False),
        ("none", [], False),
        ("required", ["one", "two"], True),
        ({"type": "function", "name": "two"}, ["two"], True),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "one"}]}, ["one"], False),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "one"}]}, ["one"], True),
    ],
)
def test_choice_says_which_tools_are_seen_and_whether_one_is_called(
    choice: object, names: list[str], has_to_call: bool
):
    request = ask(tools=TOOLS, tool_choice=choice)

    assert request.tools == tuple(Tool(name, "", '{"type":"object"}') for name in names)
    assert request.has_to_call == has_to_call


@pytest.mark.parametrize(
    ("given", "logprobs"),
    [
        ({}, None),
        ({"top_logprobs": 0}, None),
        ({"top_logprobs": 2}, 2),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 3}, 3),
        ({"include": ["reasoning.encrypted_content"]}, None),
    ],
)
def test_logprobs_come_with_the_include_or_with_their_number(given: dict, logprobs: int | None):
    assert ask(**given).logprobs == logprobs


def test_tools_are_128_at_most():
    tools = [{"type": "function", "name": f"tool{number}"} for number in range(129)]

    assert len(ask(tools=tools[1:]).tools) == 128
    with pytest.raises(InvalidFields, match="tools"):
        ask(tools=tools)
