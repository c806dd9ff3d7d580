"""OpenAI's fields, and what they mean to a generation here."""

import pytest
from msgspec import Struct

from tests.harness import PROJECT_FOLDER
from webapp.catalog import CatalogEntry, Weights
from webapp.web.api.openai import errors as openai_errors
from webapp.web.api.openai.fields import (
    REFUSED,
    ChatFields,
    CompletionFields,
    fit_seed,
    read_chat_fields,
    read_completion_fields,
)
from webapp.web.api.openai.models import EmbeddingFields
from webapp.web.errors import InvalidFields, RequestError
from webapp.web.request_fields import LARGEST_SEED, GenerationFields

ENTRY = CatalogEntry(
    name="m",
    title="",
    description="",
    weights=Weights(scripted=True),
    precision="scripted",
    context_window=4096,
    sequence_length=1800,
    slots=1,
)
MESSAGES = [{"role": "user", "content": "hi"}]


def chat(**fields: object) -> GenerationFields:
    return read_chat_fields({"model": "m", "messages": MESSAGES} | fields).to_choices(ENTRY)[0]


def refusal(**fields: object) -> dict[str, str]:
    with pytest.raises(InvalidFields) as raised:
        chat(**fields)
    return raised.value.fields


def test_what_is_left_out_has_openais_defaults() -> None:
    fields = chat()

    assert (fields.temperature, fields.max_tokens, fields.top_p, fields.seed) == (1.0, 1800, None, None)


def test_what_openai_has_and_we_have_not_is_ignored_where_it_changes_no_answer() -> None:
    harmless = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "reasoning_effort": "low",
        "verbosity": "low",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "modalities": ["text"],
        "logit_bias": {},
        "functions": [],
    }

    assert chat(**harmless) == chat()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("functions", [{"name": "f"}]),
        ("function_call", "auto"),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("modalities", ["text", "audio"]),
        ("prediction", {"type": "content", "content": "x"}),
        ("web_search_options", {"search_context_size": "low"}),
        ("logit_bias", {"50256": -100}),
    ],
)
def test_what_would_change_the_answer_and_is_not_done_is_refused_by_its_name(name: str, value: object) -> None:
    assert list(refusal(**{name: value})) == [name]


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_parts_that_are_no_text_are_refused_by_their_kind(kind: str) -> None:
    content = [{"type": "text", "text": "What is it?"}, {"type": kind, kind: {}}]

    assert kind in refusal(messages=[{"role": "user", "content": content}])["messages"]


@pytest.mark.parametrize("messages", ["hi", [1], [{"content": [1]}], [{"role": "user", "content": [{"type": 1}]}], {}])
def test_messages_that_are_none_are_refused(messages: object) -> None:
    assert list(refusal(messages=messages)) == ["messages"]


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(1, 1), (42, 42), (LARGEST_SEED, LARGEST_SEED), (0, LARGEST_SEED), (LARGEST_SEED + 1, 1), (-1, LARGEST_SEED - 1)],
)
def test_seed_that_fits_stays_and_any_other_becomes_one_that_fits(seed: int, expected: int) -> None:
    assert fit_seed(seed) == expected


def test_top_p_of_nothing_leaves_the_likeliest_token() -> None:
    assert chat(top_p=0).top_p == 0.001
    assert chat(top_p=0.9).top_p == 0.9


@pytest.mark.parametrize(("given", "expected"), [(-1, None), (0, None), (64, 64)])
def test_top_k_is_off_at_nothing_as_other_servers_have_it(given: int, expected: int | None) -> None:
    assert chat(top_k=given).top_k == expected


def test_newer_name_of_the_limit_comes_first() -> None:
    assert chat(max_tokens=5, max_completion_tokens=7).max_tokens == 7
    assert list(refusal(max_tokens=5, max_completion_tokens=1801)) == ["max_completion_tokens"]
    assert list(refusal(max_tokens=1801)) == ["max_tokens"]


def test_choices_have_consecutive_seeds_and_without_one_each_draws_its_own() -> None:
    def seeds(**fields: object) -> list[int | None]:
        choices = read_chat_fields({"model": "m", "messages": MESSAGES, "n": 3} | fields).to_choices(ENTRY)
        return [choice.seed for choice in choices]

    assert seeds(seed=LARGEST_SEED - 1) == [LARGEST_SEED - 1, LARGEST_SEED, 1]
    assert seeds() == [None, None, None]


def test_schema_is_taken_out_of_its_wrapping() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wrapped = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}

    taken = chat(response_format=wrapped).response_format

    assert taken is not None
    assert (taken.type, taken.json_schema) == ("json_schema", schema)
    assert "schema" in refusal(response_format={"type": "json_schema"})["response_format"]
    assert "schema" in refusal(response_format={"type": "json_schema", "json_schema": {"name": "n"}})["response_format"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, None), ({"logprobs": False}, None), ({"logprobs": True}, 0), ({"logprobs": True, "top_logprobs": 5}, 5)],
)
def test_logprobs_are_asked_for_by_two_fields(fields: dict, expected: int | None) -> None:
    assert read_chat_fields({"model": "m", "messages": MESSAGES} | fields).most_logprobs == expected


def test_tools_are_128_at_most() -> None:
    tools = [{"type": "function", "function": {"name": f"tool{number}"}} for number in range(129)]

    assert len(chat(tools=tools[1:]).tools or ()) == 128
    assert list(refusal(tools=tools)) == ["tools"]


def test_prompts_go_to_the_model_as_they_are_each_with_its_choices() -> None:
    fields = read_completion_fields({"model": "m", "prompt": ["a", "b"], "n": 2, "seed": 5})

    choices = fields.to_choices(ENTRY)

    assert [(choice.prompt, choice.seed, choice.raw, choice.max_tokens) for choice in choices] == [
        ("a", 5, True, 256),
        ("a", 6, True, 256),
        ("b", 5, True, 256),
        ("b", 6, True, 256),
    ]


def test_every_answer_made_is_kept_so_only_that_many_may_be_the_best() -> None:
    given = {"model": "m", "prompt": "a", "n": 2}

    assert read_completion_fields(given | {"best_of": 2}).best_of == 2
    with pytest.raises(InvalidFields) as raised:
        read_completion_fields(given | {"best_of": 3})
    assert list(raised.value.fields) == ["best_of"]


# --- what the documentation says ---

DOCUMENT = (PROJECT_FOLDER / "docs" / "openai.md").read_text("utf-8")


@pytest.mark.parametrize("kind", [ChatFields, CompletionFields, EmbeddingFields])
def test_every_field_is_documented(kind: type[Struct]) -> None:
    assert not {name for name in kind.__struct_fields__ if f"`{name}" not in DOCUMENT}


def test_every_refused_field_is_documented() -> None:
    assert not {name for name in REFUSED if f"`{name}" not in DOCUMENT}


@pytest.mark.parametrize("error", openai_errors.ERRORS)
def test_every_error_is_documented_with_its_status_type_and_code(error: type[RequestError]) -> None:
    status, kind, code = openai_errors.ERRORS[error]
    row = f"| {status} | `{kind}` | {f'`{code}`' if code else ''} | ".replace("|  |", "| |")

    assert any(line.startswith(row) and error.__name__ in line for line in DOCUMENT.splitlines())
