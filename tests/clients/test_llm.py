"""llm, its command and its library, with a model of extra-openai-models.yaml."""

from collections.abc import Callable

import pytest

from tests.clients.conftest import PIECES
from tests.clients.programs import Seen, assert_raised, assert_streamed, run_python

pytestmark = pytest.mark.python_clients
TEXT = "".join(PIECES)
ERRORS = {
    "bad_token": ("AuthenticationError", 401),
    "bad_field": ("BadRequestError", 400),
    "unknown_model": ("NotFoundError", 404),
    "long_prompt": ("BadRequestError", 400),
    "too_often": ("RateLimitError", 429),
}


@pytest.fixture(scope="module")
def seen(config: Callable[..., dict], tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return run_python("with_llm.py", config("/v1", folder=str(tmp_path_factory.mktemp("llm"))))


def test_a_chat_is_streamed_in_pieces_and_equals_the_plain_one(seen: Seen):
    assert_streamed(seen["stream"], PIECES, first_piece=seen["first_piece"])
    assert seen["plain"] == {"text": TEXT}


def test_the_command_prints_the_text_as_it_comes(seen: Seen):
    assert seen["command"] == {"text": TEXT, "status": 0}
    assert seen["command_first_piece"]["piece"] == PIECES[0]


def test_the_command_says_why_it_is_refused(seen: Seen):
    assert seen["command_refused"]["status"] == 1
    assert "401" in seen["command_refused"]["message"]


@pytest.mark.parametrize(("scenario", "kind", "status"), [(name, *error) for name, error in ERRORS.items()])
def test_an_error_raises_the_clients_own_exception(seen: Seen, scenario: str, kind: str, status: int):
    assert_raised(seen[scenario], kind, status)
