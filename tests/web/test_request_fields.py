"""What a client may ask: each field at both edges of its range, wrong types, null, forms; and the request of it."""

from collections.abc import Callable

import msgspec
import pytest

from tests.harness import SCRIPTED_MODELS
from webapp.catalog import Catalog, CatalogEntry, Weights, read_catalog
from webapp.placement import Machine
from webapp.web.errors import FeatureUnsupported, InvalidFields, ModelNotFound, ModelNotInstalled, ModelUnavailable
from webapp.web.request_fields import (
    DEFAULT_MAX_TOKENS,
    LARGEST_SEED,
    GenerationFields,
    find_model,
    read_fields,
    to_request,
)
from webapp.wire.generation import GenerationRequest, Message

# Field, the least and the largest value, and what is just outside.
RANGES = [
    ("temperature", 0, 5, -0.001, 5.001),
    ("top_p", 0.001, 1, 0.0009, 1.001),
    ("top_k", 1, 50, 0, 51),
    ("seed", 1, LARGEST_SEED, 0, LARGEST_SEED + 1),
    ("repetition_penalty", 0, 2, -0.001, 2.001),
    ("frequency_penalty", -2, 2, -2.001, 2.001),
    ("presence_penalty", -2, 2, -2.001, 2.001),
]
NUMBERS = [name for name, *_ in RANGES] + ["max_tokens"]
INTEGERS = ["top_k", "seed", "max_tokens"]


def entry(
    name: str = "@a/b", *, sequence_length: int = 1000, weights: Weights | None = None, **given: object
) -> CatalogEntry:
    return CatalogEntry(
        name=name,
        title=name,
        description="",
        weights=weights or Weights(scripted=True),
        precision="scripted",
        context_window=2048,
        sequence_length=sequence_length,
        slots=1,
        **given,
    )


ENTRY = entry()


def read(**given: object) -> GenerationFields:
    return read_fields({"prompt": "Hi"} | given)


def bad_fields(given: dict[str, object], *, is_form: bool = False) -> dict[str, str]:
    with pytest.raises(InvalidFields) as refused:
        read_fields(given, is_form=is_form)
    return refused.value.fields


def request(**given: object) -> GenerationRequest:
    return to_request(read(**given), ENTRY, ENTRY)


# --- ranges ---


@pytest.mark.parametrize(("name", "least", "most", "below", "above"), RANGES, ids=lambda value: str(value))
def test_field_takes_both_edges_of_its_range_and_nothing_outside(
    name: str, least: float, most: float, below: float, above: float
) -> None:
    assert getattr(read(**{name: least}), name) == least
    assert getattr(read(**{name: most}), name) == most
    assert list(bad_fields({"prompt": "Hi", name: below})) == [name]
    assert list(bad_fields({"prompt": "Hi", name: above})) == [name]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["1", True, [1], {}, "", float("nan"), float("inf"), -(10**30)], ids=repr)
def test_value_of_a_wrong_type_or_without_bounds_is_refused(name: str, value: object) -> None:
    assert list(bad_fields({"prompt": "Hi", name: value})) == [name]


@pytest.mark.parametrize("name", INTEGERS)
def test_whole_number_takes_no_fraction(name: str) -> None:
    assert list(bad_fields({"prompt": "Hi", name: 1.5})) == [name]


@pytest.mark.parametrize("name", INTEGERS)
def test_whole_number_may_be_written_with_a_point(name: str) -> None:
    assert getattr(read(**{name: 27.0}), name) == 27


@pytest.mark.parametrize("field", msgspec.structs.fields(GenerationFields), ids=lambda field: field.encode_name)
def test_null_means_not_given(field: msgspec.structs.FieldInfo) -> None:
    given = {"prompt": "Hi"} if field.name != "prompt" else {"messages": [{"role": "user", "content": "Hi"}]}

    assert read_fields(given | {field.encode_name: None}) == read_fields(given)


@pytest.mark.parametrize("name", ["raw", "stream"])
@pytest.mark.parametrize("value", ["yes", 1, "true", []], ids=repr)
def test_switch_takes_only_true_and_false(name: str, value: object) -> None:
    assert list(bad_fields({"prompt": "Hi", name: value})) == [name]
    assert getattr(read(**{name: True}), name) is True


def test_several_bad_fields_are_all_named() -> None:
    fields = bad_fields({"prompt": 3, "temperature": 9, "top_k": "a", "seed": 5})

    assert list(fields) == ["prompt", "temperature", "top_k"]


def test_names_that_no_field_has_are_ignored() -> None:
    assert read(colour="blue", __class__="x", max_token=3) == read()


# --- prompt and messages ---


@pytest.mark.parametrize(
    "given", [{}, {"prompt": None}, {"prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}]}], ids=repr
)
def test_exactly_one_of_prompt_and_messages_is_required(given: dict[str, object]) -> None:
    assert list(bad_fields(given)) == ["prompt"]


@pytest.mark.parametrize("value", ["", 5, ["Hi"], {"text": "Hi"}], ids=repr)
def test_prompt_is_text_of_at_least_one_character(value: object) -> None:
    assert list(bad_fields({"prompt": value})) == ["prompt"]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "Hi",
        {"role": "user", "content": "Hi"},
        ["Hi"],
        [{"role": "user"}],
        [{"content": "Hi"}],
        [{"role": "robot", "content": "Hi"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": [{"type": "image_url", "text": "x"}]}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": "Hi"}, None],
    ],
    ids=repr,
)
def test_messages_of_a_wrong_shape_are_refused(messages: object) -> None:
    assert list(bad_fields({"messages": messages})) == ["messages"]


def test_messages_keep_their_order_and_parts_are_joined() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "New York?"}]},
    ]

    made = to_request(read_fields({"messages": messages}), ENTRY, ENTRY)

    assert made.messages == (Message("system", "Be brief."), Message("user", "Where is New York?"))
    assert made.prompt is None


# --- forms ---


def test_form_brings_numbers_and_switches_as_text() -> None:
    fields = read_fields(
        {"prompt": "Hi", "temperature": "0.5", "top_k": "7", "raw": "true", "seed": "12"}, is_form=True
    )

    assert (fields.temperature, fields.top_k, fields.raw, fields.seed) == (0.5, 7, True, 12)


def test_empty_field_of_a_form_means_not_given() -> None:
    assert read_fields({"prompt": "Hi", "seed": "", "top_p": ""}, is_form=True) == read()


def test_text_of_a_form_stays_text_whatever_it_looks_like() -> None:
    assert read_fields({"prompt": "12"}, is_form=True).prompt == "12"
    assert read_fields({"prompt": "null"}, is_form=True).prompt == "null"


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "x", " 1", "1 ", "0x1", "1_0", "١", "[1]", "null"])
def test_form_takes_no_text_that_is_no_plain_number(name: str, value: str) -> None:
    assert list(bad_fields({"prompt": "Hi", name: value}, is_form=True)) == [name]


@pytest.mark.parametrize("name", ["messages", "options", "tools", "response_format"])
def test_form_cannot_bring_structures(name: str) -> None:
    assert list(bad_fields({"prompt": "Hi", name: "[]"}, is_form=True)) == [name]


# --- the request ---


def test_request_has_the_published_defaults() -> None:
    made = request()

    assert made.max_tokens == DEFAULT_MAX_TOKENS == 256
    assert (made.temperature, made.top_p, made.top_k, made.repetition_penalty) == (0.6, 1.0, 0, 1.0)
    assert (made.frequency_penalty, made.presence_penalty, made.raw) == (0.0, 0.0, False)
    assert (made.model, made.context_window) == (ENTRY.name, ENTRY.context_window)


def test_temperature_of_zero_is_kept() -> None:
    assert request(temperature=0).temperature == 0.0


def test_repetition_penalty_of_zero_means_none() -> None:
    assert request(repetition_penalty=0).repetition_penalty == 1.0


def test_every_field_reaches_the_request() -> None:
    given = {
        "raw": True,
        "max_tokens": 7,
        "seed": 8,
        "temperature": 1.5,
        "top_p": 0.25,
        "top_k": 3,
        "repetition_penalty": 1.25,
        "frequency_penalty": -1.5,
        "presence_penalty": 1.5,
    }

    made = request(**given)

    assert {name: getattr(made, name) for name in given} == given


def test_seed_that_is_not_given_is_drawn_anew_each_time_within_its_range() -> None:
    seeds = [request().seed for _ in range(50)]

    assert all(1 <= seed <= LARGEST_SEED for seed in seeds)
    assert len(set(seeds)) > 1


@pytest.mark.parametrize("seed", [1, LARGEST_SEED])
def test_seed_that_is_given_is_kept(seed: int) -> None:
    assert request(seed=seed).seed == seed


def test_max_tokens_reach_the_sequence_length_and_no_further() -> None:
    assert request(max_tokens=1).max_tokens == 1
    assert request(max_tokens=1000).max_tokens == 1000
    for too_many in (1001, 2**63, 10**30):
        with pytest.raises(InvalidFields) as refused:
            request(max_tokens=too_many)
        assert list(refused.value.fields) == ["max_tokens"]
    assert list(bad_fields({"prompt": "Hi", "max_tokens": 0})) == ["max_tokens"]


def test_default_max_tokens_of_a_small_model_are_its_sequence_length() -> None:
    small = entry(sequence_length=20)

    assert to_request(read(), small, small).max_tokens == 20


def test_stand_in_answers_under_the_limits_of_the_model_it_stands_in_for() -> None:
    asked, standing_in = entry("@asked", sequence_length=100), entry("@other", sequence_length=5000)

    made = to_request(read(max_tokens=100), asked, standing_in)

    assert (made.model, made.context_window) == ("@other", asked.context_window)
    with pytest.raises(InvalidFields):
        to_request(read(max_tokens=101), asked, standing_in)


def test_functions_for_cloudflare_to_run_are_refused_by_name() -> None:
    with pytest.raises(FeatureUnsupported, match="functions"):
        request(functions=[{"name": "f", "code": ""}])


@pytest.mark.parametrize("name", ["tools", "functions"])
def test_empty_list_asks_for_nothing(name: str) -> None:
    assert request(**{name: []}).prompt == "Hi"


def test_tools_are_128_at_most() -> None:
    tools = [{"name": f"tool{number}"} for number in range(129)]

    assert len(read(tools=tools[1:]).tools or ()) == 128
    assert list(bad_fields({"prompt": "Hi", "tools": tools})) == ["tools"]


@pytest.mark.parametrize("wrapped", [str, lambda stop: [stop]], ids=["text", "list"])
def test_stop_sequence_has_1000_characters_at_most(wrapped: Callable[[str], object]) -> None:
    assert read(stop=wrapped("é" * 1000)).stop
    assert list(bad_fields({"prompt": "Hi", "stop": wrapped("é" * 1001)})) == ["stop"]


def test_options_are_read_in_their_published_spelling() -> None:
    assert read(options={"rejectIfBusy": True}).options.reject_if_busy is True
    assert read(options={}).options.reject_if_busy is False
    assert list(bad_fields({"prompt": "Hi", "options": {"rejectIfBusy": "yes"}})) == ["options"]


# --- the model ---

MISSING = Weights(folder="/nonexistent")


def test_installed_model_answers_for_itself() -> None:
    catalog = Catalog([ENTRY])

    assert find_model(catalog, ENTRY.name) == (ENTRY, ENTRY)


def test_stand_in_answers_where_weights_are_missing() -> None:
    missing = entry("@big", weights=MISSING, stand_in="@a/b")

    assert find_model(Catalog([ENTRY, missing]), "@big") == (missing, ENTRY)


@pytest.mark.parametrize("name", ["", "@a/B", "@a/b/", "a/b", "../@a/b", "@a/b\x00"])
def test_name_that_is_not_in_the_catalogue_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound):
        find_model(Catalog([ENTRY]), name)


@pytest.mark.parametrize("has_stand_ins", [True, False])
def test_model_without_weights_says_how_to_install_them(*, has_stand_ins: bool) -> None:
    missing = entry("@big", weights=MISSING, install="fetch it", stand_in=None if has_stand_ins else "@a/b")

    with pytest.raises(ModelNotInstalled, match="fetch it"):
        find_model(Catalog([ENTRY, missing], has_stand_ins=has_stand_ins), "@big")


def test_model_that_does_not_fit_says_why() -> None:
    huge = entry("@huge", memory="5 GB")

    with pytest.raises(ModelUnavailable, match="needs about 5"):
        find_model(Catalog([ENTRY, huge], machine=Machine(host_budget=10**9)), "@huge")


def test_temperature_that_would_overflow_counts_as_zero() -> None:
    entry = read_catalog(SCRIPTED_MODELS).find("@jeton/scripted")

    requests = [
        to_request(read_fields({"prompt": "Hi", "temperature": temperature}), entry, entry)
        for temperature in (1e-38, 1e-300, 0, 0.01)
    ]

    assert [request.temperature for request in requests] == [0, 0, 0, 0.01]


def test_tool_results_stand_in_the_order_of_their_calls_and_keep_their_ids() -> None:
    calls = [{"id": "a", "name": "weather", "arguments": {}}, {"id": "b", "function": {"name": "time"}}]
    messages = [
        {"role": "user", "content": "Both?"},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "b", "content": "noon"},
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
    ]

    made = to_request(read_fields({"messages": messages}), ENTRY, ENTRY).messages

    assert [call.call_id for call in made[1].tool_calls] == ["a", "b"]
    assert [(turn.tool_call_id, turn.content) for turn in made[2:]] == [("a", "rain"), ("b", "noon")]
