"""JSON by a schema, and tool calls, from the starter model as it is served, with a template that takes tools."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from tests.engine.driving import Answer, Drive, answer_of, request
from webapp.catalog import CatalogEntry
from webapp.engine.errors import EngineError
from webapp.engine.loader import load_runner
from webapp.engine.runner import Runner
from webapp.engine.slot_runner import SlotRunner
from webapp.wire.generation import Failed, Finished, GenerationRequest, Message, Tool, ToolCall

_BRIEF = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}}, "required": ["name"]}
_SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "address": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "maxLength": 20},
                    "tags": {"type": "array", "items": {"enum": ["a", "é", "🌋"]}, "minItems": 1, "maxItems": 3},
                },
                "required": ["city", "tags"],
            },
            "note": {"type": "string", "maxLength": 10},
        },
        "required": ["name", "age", "address"],
    },
    {"type": "array", "items": {"type": "number", "minimum": -1.5, "maximum": 1.5}, "minItems": 2, "maxItems": 5},
    {"anyOf": [{"type": "boolean"}, {"type": "null"}, {"enum": ["peut-être", "जी"]}]},
    {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "value": {"type": "string", "pattern": "^[A-Zé🌋]{1,4}$"},
                    "left": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "null"}]},
                },
                "required": ["value", "left"],
            },
            "leaf": {"type": "object", "properties": {"value": {"type": "integer", "maximum": 9}}},
        },
    },
]
_WEATHER = Tool(
    "get_weather",
    "The weather of a city.",
    json.dumps(
        {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["c", "f"]}},
            "required": ["city"],
        }
    ),
)
_ADD = Tool(
    "add",
    "Adds two numbers.",
    json.dumps(
        {
            "type": "object",
            "properties": {"a": {"type": "integer", "maximum": 99}, "b": {"type": "integer", "maximum": 99}},
            "required": ["a", "b"],
        }
    ),
)
_QUESTION = "What is the weather in Montréal, in c?"


@pytest.fixture(scope="module")
def loaded(starter: CatalogEntry, cache_dir: Path) -> Runner:
    template = str(Path(__file__).with_name("hermes.jinja"))
    entry = msgspec.structs.replace(starter, precision="int4", chat_template=template)
    return load_runner(entry, cache_dir=cache_dir, device="cpu", on_progress=lambda fraction: None)


@pytest.fixture
def served(loaded: Runner) -> Iterator[SlotRunner]:
    """The one runner, with nothing running before and after."""
    assert isinstance(loaded, SlotRunner)
    yield loaded
    for lease in loaded.leases:
        loaded.abort(lease)


def _answers(runner: SlotRunner, asked: list[GenerationRequest]) -> list[Answer]:
    """Those of requests that run side by side."""
    drive = Drive(runner)
    answers = [drive.start(one) for one in asked]
    drive.finish()
    return answers


@pytest.mark.parametrize("schema", _SCHEMAS, ids=["nested", "numbers", "choices", "referenced"])
def test_every_answer_is_a_value_of_its_schema(served: SlotRunner, schema: dict[str, Any]):
    text = json.dumps(schema)
    temperatures = [(0.0, 1), *((1.0, seed) for seed in range(1, 5)), (2.0, 1)]

    answers = _answers(
        served,
        [
            request("Describe it as JSON.", json_schema=text, temperature=temperature, seed=seed, max_tokens=200)
            for temperature, seed in temperatures
        ],
    )

    for answer in answers:
        assert isinstance(answer.end, Finished)
        assert answer.end.finish_reason == "stop", answer.text
        jsonschema_rs.validate(schema, json.loads(answer.text))


def test_a_value_ends_the_text_without_the_models_end_token(served: SlotRunner):
    answer = answer_of(served, request(json_schema='{"enum": ["only this"]}'))

    assert answer.text == '"only this"'
    assert isinstance(answer.end, Finished)
    assert answer.end.usage.completion_tokens == len(answer.token_ids)


def test_log_probabilities_of_a_held_answer_are_the_models_own(served: SlotRunner):
    answer = answer_of(served, request("Hello!", json_schema='{"enum": ["zzz"]}', logprobs=3))

    first = answer.logprobs[0]
    assert first.token_bytes.startswith(b'"')
    assert first.logprob < min(one.logprob for one in first.top)


@pytest.mark.parametrize("has_parallel_calls", [True, False])
def test_tools_that_have_to_be_called_are(served: SlotRunner, has_parallel_calls: bool):
    fields: dict[str, Any] = {"has_to_call": True, "has_parallel_calls": has_parallel_calls, "max_tokens": 100}
    asked = [
        request(_QUESTION, tools=(_WEATHER, _ADD), temperature=temperature, seed=seed, **fields)
        for temperature, seed in ((0.0, 1), (1.0, 1), (1.0, 2), (1.0, 3))
    ]

    for answer in _answers(served, asked):
        assert isinstance(answer.end, Finished)
        assert answer.tool_calls
        assert has_parallel_calls or (len(answer.tool_calls) == 1 and not answer.text)
        for call in answer.tool_calls:
            tool = next(tool for tool in (_WEATHER, _ADD) if tool.name == call.name)
            jsonschema_rs.validate(json.loads(tool.parameters), json.loads(call.arguments))


def test_the_one_tool_that_is_named_is_called(served: SlotRunner):
    answer = answer_of(
        served, request(_QUESTION, tools=(_ADD,), has_to_call=True, has_parallel_calls=False, max_tokens=60)
    )

    assert [call.name for call in answer.tool_calls] == ["add"]
    assert answer.text == ""
    assert isinstance(answer.end, Finished)
    assert answer.end.finish_reason == "stop"


def test_a_call_goes_on_after_the_loss_of_its_engine(served: SlotRunner):
    asked = request(_QUESTION, tools=(_WEATHER,), has_to_call=True, has_parallel_calls=False, max_tokens=60)
    whole = answer_of(served, asked)
    (call,) = whole.tool_calls

    for cut in range(0, len(whole.token_ids), 6):
        rest = answer_of(served, asked, token_ids=whole.token_ids[:cut])
        assert (rest.tool_calls, rest.text, rest.end) == ((call,), "", whole.end)


def test_with_tools_the_model_may_still_answer_in_words(served: SlotRunner):
    free = answer_of(served, request("Say hello.", tools=(_WEATHER,), max_tokens=12))

    assert isinstance(free.end, Finished)
    assert free.text.strip()


def test_with_tools_and_a_schema_the_model_answers_with_a_value_or_a_call(served: SlotRunner):
    asked = [
        request(
            _QUESTION, tools=(_WEATHER, _ADD), json_schema=_ADD.parameters, temperature=1.0, seed=seed, max_tokens=100
        )
        for seed in range(1, 5)
    ]

    for answer in _answers(served, asked):
        assert answer.tool_calls or jsonschema_rs.is_valid(json.loads(_ADD.parameters), json.loads(answer.text))


def test_a_model_that_begins_a_call_by_itself_makes_a_whole_one(served: SlotRunner):
    # What the model says at first is not its own here: an earlier engine "made" it.
    asked = request(_QUESTION, tools=(_WEATHER, _ADD), has_parallel_calls=False, max_tokens=80)
    opening = served._tokenizer('Let me see. <tool_call>\n{"name": "')["input_ids"]
    answer = answer_of(served, asked, token_ids=tuple(opening))

    (call,) = answer.tool_calls
    assert call.name in ("get_weather", "add")
    assert answer.text == ""


def test_a_conversation_with_calls_and_their_results_is_read(served: SlotRunner):
    messages = (
        Message("user", _QUESTION),
        Message("assistant", "", tool_calls=(ToolCall("get_weather", '{"city": "Montréal"}'),)),
        Message("tool", "Snow, -12 c", tool_call_id="call_1"),
    )

    answer = answer_of(served, request(prompt=None, messages=messages, tools=(_WEATHER,), max_tokens=30))

    assert isinstance(answer.end, Finished)
    assert answer.text or answer.tool_calls


def test_a_held_answer_goes_on_after_the_loss_of_its_engine(served: SlotRunner):
    asked = request("Describe a person.", json_schema=json.dumps(_BRIEF), max_tokens=40)
    whole = answer_of(served, asked)
    assert json.loads(whole.text)["name"]

    drive = Drive(served)
    cuts = range(1, len(whole.token_ids), 3)
    rests = [drive.start(asked, token_ids=whole.token_ids[:cut]) for cut in cuts]
    drive.finish()
    for cut, rest in zip(cuts, rests, strict=True):
        assert rest.token_ids == whole.token_ids[cut:]
        assert rest.end == whole.end


def test_a_held_answer_disturbs_no_other_and_leaves_its_place(served: SlotRunner):
    alone = answer_of(served, request("Tell a story.", max_tokens=12))
    drive = Drive(served)
    held = drive.start(request("Describe a person.", json_schema=json.dumps(_BRIEF), max_tokens=40))
    free = drive.start(request("Tell a story.", max_tokens=12))
    aborted = drive.start(request("Describe a town.", json_schema=json.dumps(_BRIEF), max_tokens=40))
    drive.step(6)
    drive.abort(aborted)
    drive.finish()

    assert free.text == alone.text
    assert "name" in json.loads(held.text)
    assert aborted.end is None


def test_a_schema_that_cannot_be_held_is_refused_before_the_first_token(served: SlotRunner):
    drive = Drive(served)
    answer = drive.start(request(json_schema='{"not": {}}'))

    assert isinstance(answer.end, Failed)
    assert answer.end.code == "SchemaUnsupported"
    assert served.leases == ()


def test_a_constraint_that_fails_ends_its_own_generation_only(served: SlotRunner):
    class Broken:
        is_complete = False

        def advance(self, token_id: int) -> None:
            raise EngineError("It cannot go on.")

        def allowed(self) -> bytes:
            return bytes([1]) * 10

    drive = Drive(served)
    other = drive.start(request("Tell a story.", max_tokens=4))
    broken = drive.start(request("Say hello."))
    served._scheduler.sequences[-1].constraint = Broken()
    drive.finish()

    assert broken.end == Failed("EngineFailure", "It cannot go on.")
    assert isinstance(other.end, Finished)
