"""The eventsource package for Node.js on /worker-endpoint."""

from collections.abc import Callable

import pytest

from tests.clients.conftest import PIECES
from tests.clients.programs import Seen, assert_streamed, run_node

pytestmark = pytest.mark.node_clients


@pytest.fixture(scope="module")
def seen(config: Callable[..., dict]) -> Seen:
    return run_node("with_eventsource.js", config())


def test_the_text_arrives_in_pieces_and_ends_with_done(seen: Seen):
    assert_streamed(seen["stream"], PIECES, first_piece=seen["first_piece"])
    assert seen["stream"]["is_done"]


@pytest.mark.parametrize(("scenario", "status"), [("bad_field", 400), ("unknown_model", 404), ("long_prompt", 413)])
def test_an_error_is_told_once_and_ends_the_connection(seen: Seen, scenario: str, status: int):
    error = seen[scenario]

    assert (error["raised"], error["status"], error["is_closed"]) == ("ErrorEvent", status, True), error
    assert error["pieces"] == []
