"""litellm's providers cloudflare/, on an account's /ai/v1, and openai/, on /v1."""

from collections.abc import Callable

import pytest

from tests.clients.conftest import PIECES
from tests.clients.programs import Seen, assert_raised, assert_streamed, run_python

pytestmark = pytest.mark.python_clients
PATHS = {"cloudflare": "/client/v4/accounts/an-account/ai/v1", "openai": "/v1"}
ERRORS = {
    "cloudflare bad_token": ("AuthenticationError", 401),
    "cloudflare bad_field": ("BadRequestError", 400),
    "cloudflare unknown_model": ("BadRequestError", 400),
    "cloudflare long_prompt": ("BadRequestError", 413),
    "cloudflare too_often": ("RateLimitError", 429),
    "openai bad_token": ("AuthenticationError", 401),
    "openai bad_field": ("BadRequestError", 400),
    "openai unknown_model": ("NotFoundError", 404),
    "openai long_prompt": ("ContextWindowExceededError", 400),
    "openai too_often": ("RateLimitError", 429),
}


@pytest.fixture(scope="module")
def seen(config: Callable[..., dict]) -> Seen:
    return run_python("with_litellm.py", config(paths=PATHS))


@pytest.mark.parametrize("provider", PATHS)
def test_a_chat_is_streamed_in_pieces_and_equals_the_plain_one(seen: Seen, provider: str):
    streamed, plain = seen[f"{provider} stream"], seen[f"{provider} plain"]

    assert_streamed(streamed, PIECES, first_piece=seen[f"{provider} first_piece"])
    assert streamed["finish_reason"] == "stop"
    assert plain["text"] == "".join(PIECES)
    assert plain["usage"]["completion_tokens"] == len(PIECES) + 1  # and its end


@pytest.mark.parametrize(("scenario", "kind", "status"), [(name, *error) for name, error in ERRORS.items()])
def test_an_error_raises_the_clients_own_exception(seen: Seen, scenario: str, kind: str, status: int):
    assert_raised(seen[scenario], kind, status)
