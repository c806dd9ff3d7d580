"""The openai package for Python on /v1 and on an account's /ai/v1."""

import json
from collections.abc import Callable

import pytest

from tests.clients.conftest import PIECES
from tests.clients.programs import Seen, assert_raised, assert_streamed, run_python

pytestmark = pytest.mark.python_clients
TEXT = "".join(PIECES)
ACCOUNT_PATH = "/client/v4/accounts/an-account/ai/v1"
ERRORS = {
    "bad_token": ("AuthenticationError", 401),
    "bad_token_stream": ("AuthenticationError", 401),
    "bad_field": ("BadRequestError", 400),
    "unknown_model": ("NotFoundError", 404),
    "long_prompt": ("BadRequestError", 400),
    "too_often": ("RateLimitError", 429),
}
# The account's path has the statuses of Cloudflare's errors.
ACCOUNT_ERRORS = ERRORS | {"unknown_model": ("BadRequestError", 400), "long_prompt": ("APIStatusError", 413)}


@pytest.fixture(scope="module")
def seen(config: Callable[..., dict]) -> Seen:
    return run_python("with_openai.py", config("/v1"))


@pytest.fixture(scope="module")
def seen_by_account(config: Callable[..., dict]) -> Seen:
    only = [
        "plain",
        "stream",
        "first_piece",
        "response",
        "response_stream",
        "tools",
        "json_mode",
        "embeddings",
        "models",
        *ACCOUNT_ERRORS,
    ]
    return run_python("with_openai.py", config(ACCOUNT_PATH, only=only))


def test_a_chat_is_streamed_in_pieces_and_equals_the_plain_one(seen: Seen):
    assert_streamed(seen["stream"], PIECES, first_piece=seen["first_piece"])
    assert seen["plain"]["text"] == TEXT
    assert seen["plain"]["finish_reason"] == "stop"
    assert [reason for reason in seen["stream"]["finish_reasons"] if reason] == ["stop"]
    assert seen["stream"]["usage"] == seen["plain"]["usage"]
    assert seen["plain"]["usage"]["completion_tokens"] == len(PIECES) + 1  # and its end


def test_a_completion_is_streamed_in_pieces_and_equals_the_plain_one(seen: Seen):
    assert_streamed(seen["completion_stream"], PIECES, first_piece=seen["completion_first_piece"])
    assert seen["completion"]["text"] == TEXT


def test_a_response_is_streamed_in_pieces_and_equals_the_plain_one(seen: Seen):
    assert_streamed(seen["response_stream"], PIECES, first_piece=seen["response_first_piece"])
    assert seen["response"] == {"text": TEXT, "status": "completed"}
    assert seen["response_stream"]["text"] == TEXT
    assert seen["response_stream"]["events"][0] == "response.created"
    assert seen["response_stream"]["events"][-1] == "response.completed"


@pytest.mark.parametrize("scenario", ["tools", "tools_stream"])
def test_tool_calls_arrive_whole(seen: Seen, scenario: str):
    assert "raised" not in seen[scenario], seen[scenario]
    [(kind, name, arguments)] = seen[scenario]["calls"]

    assert (kind, name, json.loads(arguments)) == ("function", "weather", {"city": "Paris"})
    assert seen[scenario]["finish_reason"] == "tool_calls"


def test_a_conversation_goes_on_after_a_tool_call(seen: Seen):
    assert seen["tool_result"] == {"text": TEXT}


@pytest.mark.parametrize("scenario", ["json_mode", "json_schema"])
def test_json_mode_answers_json(seen: Seen, scenario: str):
    assert json.loads(seen[scenario]["text"]) == {"city": "Paris"}


def test_several_choices_have_their_tokens_probabilities(seen: Seen):
    assert seen["several"] == {"texts": [TEXT, TEXT], "tokens": [list(PIECES), list(PIECES)]}


def test_embeddings_are_a_vector_for_each_text(seen: Seen, seen_by_account: Seen):
    first, second = seen["embeddings"]["vectors"]

    assert len(first) == len(second) == 8
    assert first != second
    assert seen_by_account["embeddings"] == seen["embeddings"]


def test_the_models_are_listed(seen: Seen):
    assert "@jeton/scripted" in seen["models"]["names"]


@pytest.mark.parametrize(("scenario", "kind", "status"), [(name, *error) for name, error in ERRORS.items()])
def test_an_error_raises_the_clients_own_exception(seen: Seen, scenario: str, kind: str, status: int):
    assert_raised(seen[scenario], kind, status)


def test_an_accounts_path_answers_as_v1_does(seen: Seen, seen_by_account: Seen):
    assert_streamed(seen_by_account["stream"], PIECES, first_piece=seen_by_account["first_piece"])
    assert seen_by_account["response_stream"]["pieces"] == list(PIECES)
    for scenario in ("plain", "response", "json_mode", "models"):
        assert seen_by_account[scenario] == seen[scenario]
    assert seen_by_account["tools"]["calls"] == seen["tools"]["calls"]


@pytest.mark.parametrize(("scenario", "kind", "status"), [(name, *error) for name, error in ACCOUNT_ERRORS.items()])
def test_an_error_of_an_accounts_path_raises_it_too(seen_by_account: Seen, scenario: str, kind: str, status: int):
    assert_raised(seen_by_account[scenario], kind, status)
