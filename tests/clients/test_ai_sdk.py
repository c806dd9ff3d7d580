"""Vercel's AI SDK with workers-ai-provider on the run route, and with @ai-sdk/openai-compatible on /v1."""

from collections.abc import Callable

import pytest

from tests.clients.conftest import PIECES
from tests.clients.programs import Seen, assert_raised, assert_streamed, run_node

pytestmark = pytest.mark.node_clients
PROVIDERS = {"workers-ai-provider": "", "openai-compatible": "/v1"}
ERRORS = {"bad_token": 401, "bad_token_stream": 401, "bad_field": 400, "too_often": 429}


@pytest.fixture(scope="module", params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def seen(config: Callable[..., dict], provider: str) -> Seen:
    return run_node("with_ai_sdk.js", config(PROVIDERS[provider], provider=provider))


def test_a_text_is_streamed_in_pieces_and_equals_the_plain_one(seen: Seen):
    assert_streamed(seen["stream"], PIECES, first_piece=seen["first_piece"])
    assert seen["plain"]["text"] == "".join(PIECES)
    for scenario in ("plain", "stream"):
        assert seen[scenario]["finish_reason"] == "stop"
        assert seen[scenario]["completion_tokens"] == len(PIECES) + 1  # and its end


@pytest.mark.parametrize("scenario", ["tools", "tools_stream"])
def test_tool_calls_arrive_whole(seen: Seen, provider: str, scenario: str):
    # The run route's answer has no reason of its end, which workers-ai-provider takes for a stop.
    finish_reason = "tool-calls" if provider == "openai-compatible" else "stop"

    assert seen[scenario] == {"calls": [["weather", {"city": "Paris"}]], "finish_reason": finish_reason}


def test_json_mode_answers_an_object_of_the_schema(seen: Seen):
    assert seen["json_mode"] == {"output": {"city": "Paris"}}


def test_embeddings_are_a_vector_for_each_text(seen: Seen):
    assert [len(vector) for vector in seen["embeddings"]["vectors"]] == [8, 8]


@pytest.mark.parametrize(("scenario", "status"), ERRORS.items())
def test_an_error_raises_the_clients_own_exception(seen: Seen, scenario: str, status: int):
    assert_raised(seen[scenario], "AI_APICallError", status)


def test_errors_whose_status_differs_raise_it_too(seen: Seen, provider: str):
    is_openai = provider == "openai-compatible"

    assert_raised(seen["unknown_model"], "AI_APICallError", 404 if is_openai else 400)
    assert_raised(seen["long_prompt"], "AI_APICallError", 400 if is_openai else 413)
