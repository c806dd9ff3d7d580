"""The cloudflare package for Python on the run route and the catalogue."""

from collections.abc import Callable

import pytest

from tests.clients.conftest import PIECES
from tests.clients.programs import Seen, assert_raised, assert_streamed, run_python
from tests.harness import SCRIPTED_MODELS
from webapp.catalog import read_catalog

pytestmark = pytest.mark.python_clients
TEXT = "".join(PIECES)
ERRORS = {
    "bad_token": ("AuthenticationError", 401),
    "bad_field": ("BadRequestError", 400),
    "unknown_model": ("BadRequestError", 400),
    "unknown_route": ("NotFoundError", 404),
    "long_prompt": ("APIStatusError", 413),
    "too_often": ("RateLimitError", 429),
}


@pytest.fixture(scope="module")
def seen(config: Callable[..., dict]) -> Seen:
    return run_python("with_cloudflare.py", config())


def test_a_run_is_streamed_in_pieces_and_equals_the_plain_one(seen: Seen):
    assert_streamed(seen["stream"], PIECES, first_piece=seen["first_piece"])
    assert seen["stream"]["content_type"] == "text/event-stream"
    assert seen["stream"]["last"] == "[DONE]"
    assert seen["plain"]["text"] == TEXT
    assert seen["plain"]["usage"]["completion_tokens"] == len(PIECES) + 1  # and its end
    assert seen["messages"] == {"text": TEXT}


def test_the_catalogue_is_paged_to_its_end(seen: Seen):
    names = seen["models"]["names"]

    assert sorted(names) == sorted(entry.name for entry in read_catalog(SCRIPTED_MODELS).entries)


def test_a_models_schema_has_input_and_output(seen: Seen):
    assert {"input", "output"} <= set(seen["schema"]["keys"])


def test_tasks_are_listed_to_their_end(seen: Seen):
    assert "Text Generation" in seen["tasks"]["names"]


def test_tool_calls_have_objects_for_arguments(seen: Seen):
    assert seen["tools"] == {"calls": [{"name": "weather", "arguments": {"city": "Paris"}}]}


def test_json_mode_answers_an_object(seen: Seen):
    assert seen["json_mode"] == {"response": {"city": "Paris"}}


def test_embeddings_are_a_vector_for_each_text(seen: Seen):
    assert seen["embeddings"]["shape"] == [2, 8]
    assert [len(vector) for vector in seen["embeddings"]["vectors"]] == [8, 8]


@pytest.mark.parametrize(("scenario", "kind", "status"), [(name, *error) for name, error in ERRORS.items()])
def test_an_error_raises_the_clients_own_exception(seen: Seen, scenario: str, kind: str, status: int):
    assert_raised(seen[scenario], kind, status)
