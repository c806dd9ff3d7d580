"""Answers held to a form, token by token, with the starter model's own vocabulary."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.engine.driving import PlainText, dispatch, request
from tests.engine.small_tokenizers import metaspace_like
from webapp.engine.constraints import Constraints, GrammarConstraint
from webapp.engine.errors import FeatureUnsupported, SchemaUnsupported
from webapp.engine.sampling import Sampler
from webapp.engine.sequence import Sequence
from webapp.engine.tool_calls import HERMES, LLAMA, MISTRAL, SMOLLM, ToolFormat
from webapp.wire.generation import Tool

_END = 2
_PERSON = json.dumps(
    {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name"]}
)
_WEATHER = Tool("weather", "", json.dumps({"type": "object", "properties": {"city": {"type": "string"}}}))
_TIME = Tool('the "time"', "", '{"type": "array", "uniqueItems": true}')


@pytest.fixture(scope="module")
def constraints(tokenizer: PreTrainedTokenizerFast) -> Constraints:
    return Constraints(tokenizer, end_ids=frozenset({_END}))


def _taken(constraint: GrammarConstraint, tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    """The part of `text` that the constraint takes."""
    token_ids = tokenizer(text)["input_ids"]
    for count, token_id in enumerate(token_ids):
        if constraint.is_complete or not constraint.allowed()[token_id]:
            return tokenizer.decode(token_ids[:count])
        constraint.advance(token_id)
    return text


def _may_end(constraint: GrammarConstraint) -> bool:
    return constraint.is_complete or bool(constraint.allowed()[_END])


@pytest.mark.parametrize(
    "text",
    [
        '{"name":"Zoé 🌋 \\n नमस्ते"}',
        '{"name": "a", "age": 7}',
        '{\n  "name": "a",\n  "age": -7\n}',
        '{\n        "name": "a"}',
    ],
)
def test_a_value_of_the_schema_is_taken_whole_and_ends(
    constraints: Constraints, tokenizer: PreTrainedTokenizerFast, text: str
):
    constraint = constraints.of_schema(_PERSON)

    assert _taken(constraint, tokenizer, text) == text
    assert constraint.is_complete


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("Sure", ""),
        ('{"name": 1}', '{"name": '),
        ('{"age": 1', '{"'),
        ('{"name": "a"} {', '{"name": "a"}'),
        ('{"name": "a", "other": 1}', '{"name": "a", "'),
        ("{" + "\n" * 9, "{"),
        ("{" + " " * 60, "{"),
    ],
)
def test_what_the_schema_does_not_allow_is_not_taken(
    constraints: Constraints, tokenizer: PreTrainedTokenizerFast, text: str, taken: str
):
    constraint = constraints.of_schema(_PERSON)

    assert _taken(constraint, tokenizer, text) == taken
    assert constraint.is_complete == (taken == '{"name": "a"}')


def test_a_number_may_end_where_it_is_whole_only(constraints: Constraints, tokenizer: PreTrainedTokenizerFast):
    constraint = constraints.of_schema('{"type": "number"}')

    ends = []
    for piece in ("-", "1", ".", "5"):
        assert _taken(constraint, tokenizer, piece) == piece
        ends.append(_may_end(constraint))

    assert ends == [False, True, False, True]
    constraint.advance(_END)
    assert constraint.is_complete


def test_a_token_that_is_not_allowed_is_refused(constraints: Constraints, tokenizer: PreTrainedTokenizerFast):
    constraint = constraints.of_schema(_PERSON)

    with pytest.raises(SchemaUnsupported):
        constraint.advance(_END)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ('{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ('{"type": "nonsense"}', "Invalid type"),
        ('{"type": "string", "pattern": "(?=x)"}', "look-around"),
        ('{"type": "string", "minLength": 5, "maxLength": 2}', "Unsatisfiable"),
        ('{"$ref": "#"}', "held to"),
        ('{"$ref": "http://localhost/schema"}', "not present"),
        ("[]", "Expected `object`"),
        ("{", "truncated"),
        ('{"items":' * 5_000 + "{}" + "}" * 5_000, "recursion"),
        ('{"items":' * 500 + "{}" + "}" * 500, "recursion"),
        (json.dumps({"enum": [str(number) for number in range(20_000)]}), "characters; at most"),
    ],
)
def test_a_schema_that_no_answer_can_be_held_to_is_refused_with_the_reason(
    constraints: Constraints, schema: str, reason: str
):
    with pytest.raises(SchemaUnsupported, match=reason) as refusal:
        constraints.of_schema(schema)

    assert len(str(refusal.value)) < 400


def test_a_schema_that_grows_too_complex_ends_alone(constraints: Constraints, tokenizer: PreTrainedTokenizerFast):
    listed: dict[str, Any] = {f"p{at}": {} for at in range(1200)}
    constraint = constraints.of_schema(json.dumps({"type": "object", "properties": listed}))

    with pytest.raises(SchemaUnsupported):
        for piece in ("{", '"', "p"):
            assert len(constraint.allowed()) >= len(tokenizer)
            constraint.advance(tokenizer(piece)["input_ids"][0])


def test_a_tokenizer_that_is_not_known_says_so_and_leaves_tools_free():
    small = PreTrainedTokenizerFast(tokenizer_object=metaspace_like())
    constraints = Constraints(small, end_ids=frozenset())
    constraints._vocabulary = None
    asked = request(tools=(_WEATHER,))

    with pytest.raises(FeatureUnsupported):
        constraints.of_schema(_PERSON)
    assert constraints.of_tools(asked, HERMES, special={}) is None


def test_the_vocabulary_is_known_before_the_first_stream(tokenizer: PreTrainedTokenizerFast):
    # To learn it holds the interpreter: in a thread it would stop every stream, for as long as a busy machine likes.
    before = threading.active_count()

    made = Constraints(tokenizer, end_ids=frozenset({_END}))

    assert threading.active_count() == before
    assert made.of_schema(_PERSON)


def test_what_costs_too_much_is_refused_with_its_reason(constraints: Constraints):
    costly = json.dumps({"type": "object", "properties": {f"p{at}": {} for at in range(3000)}})

    with pytest.raises(SchemaUnsupported, match="characters beside its descriptions"):
        constraints.of_schema(costly)
    with pytest.raises(SchemaUnsupported, match="characters beside its descriptions"):
        constraints.of_tools(request(tools=(Tool("a", "", costly),)), HERMES, special={})


@pytest.mark.parametrize("multiple", [True, -999_983, 0])
def test_a_multiple_that_is_none_is_refused_or_passed_over(constraints: Constraints, multiple: object):
    schema = json.dumps({"type": "integer", "allOf": [{"multipleOf": multiple}, {"multipleOf": 999_983}]})

    with pytest.raises(SchemaUnsupported):
        constraints.of_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "multipleOf": 999_983},
        {"type": "integer", "multipleOf": 7.00001},
        {"type": "integer", "allOf": [{"multipleOf": 997}, {"multipleOf": 991}]},
        {"type": "number", "allOf": [{"multipleOf": 9973}, {"multipleOf": 0.0001}]},
        {"type": "array", "prefixItems": [{"type": "integer", "multipleOf": 9001 + at} for at in range(20)]},
        {"type": "integer", "multipleOf": 4999, "anyOf": [{"multipleOf": 4993}, {"minimum": 0}]},
    ],
    ids=["large", "many places", "two in one", "two of different places", "many", "one over others"],
)
def test_multiples_that_take_long_to_count_are_refused_at_once(constraints: Constraints, schema: dict[str, Any]):
    # The first took 24 seconds to compile, in which no stream went on.
    tool = Tool("a", "", json.dumps({"type": "object", "properties": {"x": schema}}))

    with pytest.raises(SchemaUnsupported, match="multipleOf is too large"):
        constraints.of_schema(json.dumps(schema))
    with pytest.raises(SchemaUnsupported, match="multipleOf is too large"):
        constraints.of_tools(request(tools=(tool,)), HERMES, special={})


@pytest.mark.parametrize("multiple", [5, 0.01, 0.25, 1000, 7.5])
def test_ordinary_multiples_are_counted(constraints: Constraints, tokenizer: PreTrainedTokenizerFast, multiple: float):
    constraint = constraints.of_schema(json.dumps({"type": "number", "multipleOf": multiple}))

    assert _taken(constraint, tokenizer, "15000") == "15000"
    assert _may_end(constraint)


def _of_tools(constraints: Constraints, form: ToolFormat, **fields: Any) -> GrammarConstraint:
    constraint = constraints.of_tools(request(tools=(_WEATHER, _TIME), **fields), form, special={})
    assert constraint
    return constraint


_CALL = '{"name": "weather", "arguments": {"city": "Genève"}}'
_OTHER_CALL = '{"name": "the \\"time\\"", "arguments": []}'
_LLAMA_CALL = _CALL.replace("arguments", "parameters")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (HERMES, f"<tool_call>\n{_CALL}\n</tool_call>"),
        (HERMES, f"<tool_call>{_CALL}</tool_call>\n<tool_call>\n{_CALL}\n</tool_call>"),
        (SMOLLM, f"<tool_call>[{_CALL}, {_CALL}]</tool_call>"),
        (MISTRAL, f"[TOOL_CALLS] [{_CALL}, {_CALL}]"),
        (LLAMA, _LLAMA_CALL),
    ],
)
def test_calls_that_have_to_come_are_all_that_may(
    constraints: Constraints, tokenizer: PreTrainedTokenizerFast, form: ToolFormat, text: str
):
    constraint = _of_tools(constraints, form, has_to_call=True)

    assert not _may_end(constraint)
    assert _taken(constraint, tokenizer, text) == text
    assert _may_end(constraint)
    assert _taken(_of_tools(constraints, form, has_to_call=True), tokenizer, "Hello") == ""
    one_more = _of_tools(constraints, form, has_to_call=True, has_parallel_calls=False)
    assert (_taken(one_more, tokenizer, text) == text) == (text.count("weather") == 1)


@pytest.mark.parametrize(
    ("form", "text", "taken"),
    [
        (HERMES, f"Let me see. <tool_call>\n{_CALL}\n</tool_call> Done.", None),
        (HERMES, "No call, but <tool and {", None),
        (HERMES, 'A <tool_call>{"name": "other', 'A <tool_call>{"name": "'),
        (
            HERMES,
            'A <tool_call>{"name": "weather", "arguments": {"town',
            'A <tool_call>{"name": "weather", "arguments": {"',
        ),
        (SMOLLM, f"<tool_call>{_CALL}", "<tool_call>"),
        (MISTRAL, f"See[TOOL_CALLS][{_CALL}]", None),
        (LLAMA, '{"city": "Genève"}', None),
        (LLAMA, _LLAMA_CALL, None),
        (LLAMA, '{"name": "other', '{"name": "'),
    ],
)
def test_where_a_call_may_come_only_the_call_is_held_to_its_form(
    constraints: Constraints, tokenizer: PreTrainedTokenizerFast, form: ToolFormat, text: str, taken: str | None
):
    assert _taken(_of_tools(constraints, form), tokenizer, text) == (text if taken is None else taken)


@pytest.mark.parametrize("form", [HERMES, SMOLLM, MISTRAL])
@pytest.mark.parametrize(
    ("text", "is_whole"),
    [('{"name": "Zoé", "age": 7}', True), ("Hello", False), ('{"city": "Genève"}', False)],
)
def test_beside_tools_a_schema_holds_the_text_that_is_no_call(
    constraints: Constraints, tokenizer: PreTrainedTokenizerFast, form: ToolFormat, text: str, is_whole: bool
):
    constraint = _of_tools(constraints, form, json_schema=_PERSON)

    assert (_taken(constraint, tokenizer, text) == text) == is_whole
    assert _may_end(constraint) == is_whole


def test_beside_a_schema_tools_may_be_called(constraints: Constraints, tokenizer: PreTrainedTokenizerFast):
    calls = {
        HERMES: f"<tool_call>\n{_CALL}\n</tool_call>\n<tool_call>{_CALL}</tool_call>",
        SMOLLM: f"<tool_call>[{_CALL}, {_CALL}]</tool_call>",
    }
    for form, text in calls.items():
        constraint = _of_tools(constraints, form, json_schema=_PERSON)

        assert _taken(constraint, tokenizer, text) == text
        assert _may_end(constraint)


def test_calls_that_are_plain_json_leave_no_room_for_a_schema(constraints: Constraints):
    with pytest.raises(FeatureUnsupported, match="not both"):
        _of_tools(constraints, LLAMA, json_schema=_PERSON)

    assert _of_tools(constraints, LLAMA, json_schema=_PERSON, has_to_call=True)


def test_arguments_are_an_object_whatever_is_said_of_them(constraints: Constraints, tokenizer: PreTrainedTokenizerFast):
    constraint = _of_tools(constraints, HERMES, has_to_call=True)
    start = '<tool_call>{"name": "the \\"time\\"", "arguments":'

    assert _taken(constraint, tokenizer, f"{start} []}}") == start


def test_an_opening_that_is_a_special_token_is_the_token(constraints: Constraints, tokenizer: PreTrainedTokenizerFast):
    special_id = tokenizer.convert_tokens_to_ids("<repo_name>")
    assert isinstance(special_id, int)
    asked = request(tools=(_WEATHER,), has_to_call=True)
    constraint = constraints.of_tools(asked, MISTRAL, special={special_id: "[TOOL_CALLS]"})
    assert constraint

    assert [token_id for token_id, is_allowed in enumerate(constraint.allowed()) if is_allowed] == [special_id]
    constraint.advance(special_id)
    assert _taken(constraint, tokenizer, f"[{_CALL}]") == f"[{_CALL}]"


@pytest.fixture
def rows(constraints: Constraints) -> Iterator[list[Sequence]]:
    """Three sequences, of which the second is constrained."""
    asked = [request(temperature=1.0, seed=seed) for seed in (1, 2, 3)]
    sequences = [Sequence(dispatch(one), [5], PlainText(), frozenset({_END})) for one in asked]
    sequences[1].constraint = constraints.of_schema(_PERSON)
    yield sequences


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_the_row_that_is_constrained_is_changed(rows: list[Sequence], temperature: float):
    logits = torch.randn(3, 49_200, generator=torch.Generator().manual_seed(1))
    before = logits.clone()
    positions = torch.tensor([1, 1, 1])
    free = [Sequence(row.dispatch, [5], PlainText(), frozenset({_END})) for row in rows]

    chosen = Sampler(rows, device="cpu").sample(logits, positions).tolist()

    plain = Sampler(free, device="cpu").sample(logits, positions).tolist()
    assert (chosen[0], chosen[2]) == (plain[0], plain[2])
    assert rows[1].constraint
    assert rows[1].constraint.allowed()[chosen[1]]
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    "fields",
    [{}, {"min_p": 0.1}, {"top_p": 0.5}, {"top_k": 3}, {"repetition_penalty": 1.3, "frequency_penalty": 0.5}],
)
def test_sampling_parameters_apply_to_what_is_allowed(constraints: Constraints, fields: dict[str, Any]):
    asked = request(temperature=1.0, **fields)
    row = Sequence(dispatch(asked), [5], PlainText(), frozenset({_END}), constraint=constraints.of_schema(_PERSON))
    assert row.constraint
    # Nearly all of the mass is where nothing is allowed.
    logits = torch.randn(1, 49_200, generator=torch.Generator().manual_seed(1))
    logits[:, 20_000:] += 30
    sampler = Sampler([row], device="cpu")

    for position in range(20):
        (chosen,) = sampler.sample(logits, torch.tensor([position])).tolist()
        assert row.constraint.allowed()[chosen]
