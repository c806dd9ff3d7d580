"""Every generation of @cloudflare/ai, and env.AI itself, in Cloudflare's own runtime with Jeton behind the binding."""

from collections.abc import Callable

import pytest

from tests.clients.conftest import PIECES
from tests.clients.programs import Seen, assert_raised, assert_streamed, run_node

pytestmark = pytest.mark.node_clients
SDKS = ("1.0.28", "1.0.53", "1.1.0", "1.2.2", "none")
# Those that send JSON; the older ones send tensors, and know their models' names and limits themselves.
JSON_SDKS = ("1.1.0", "1.2.2", "none")
# The published name, which every generation knows; the scripted model stands in for it.
MODEL = "@cf/meta/llama-2-7b-chat-int8"


@pytest.fixture(scope="module")
def seen(config: Callable[..., dict]) -> Seen:
    return run_node("with_workerd.js", config(model=MODEL))


@pytest.mark.parametrize("sdk", SDKS)
def test_a_run_is_streamed_in_pieces_and_equals_the_plain_one(seen: Seen, sdk: str):
    assert_streamed(seen[f"{sdk} stream"], PIECES, first_piece=seen[f"{sdk} first_piece"])
    assert seen[f"{sdk} stream"]["is_done"]
    assert seen[f"{sdk} plain"]["answer"]["response"] == "".join(PIECES)


@pytest.mark.parametrize("sdk", ["1.2.2", "none"])
def test_the_binding_knows_the_id_of_its_last_request(seen: Seen, sdk: str):
    assert len(seen[f"{sdk} plain"]["request_id"]) == 36


@pytest.mark.parametrize("sdk", ["1.2.2", "none"])
def test_embeddings_are_a_vector_for_each_text(seen: Seen, sdk: str):
    assert [len(vector) for vector in seen[f"{sdk} embeddings"]["vectors"]] == [8, 8]


def test_the_binding_lists_the_models(seen: Seen):
    assert MODEL in seen["models"]["names"]


@pytest.mark.parametrize("sdk", SDKS)
def test_a_wrong_token_raises_the_sdks_own_exception(seen: Seen, sdk: str):
    assert_raised(seen[f"{sdk} bad_token"], "InferenceUpstreamError", 401)


@pytest.mark.parametrize("sdk", SDKS)
def test_a_limit_raises_the_sdks_own_exception(seen: Seen, sdk: str):
    assert_raised(seen[f"{sdk} too_often"], _name_of_errors(sdk), 429)


@pytest.mark.parametrize("sdk", JSON_SDKS)
@pytest.mark.parametrize(
    ("scenario", "status", "message"),
    [
        ("unknown_model", 400, "No such model @cf/none/none or task"),
        ("bad_field", 400, "temperature: must be a number from 0 to 5"),
        ("long_prompt", 413, "exceeded this model context window limit (10)"),
    ],
)
def test_an_error_raises_the_sdks_own_exception(seen: Seen, sdk: str, scenario: str, status: int, message: str):
    assert_raised(seen[f"{sdk} {scenario}"], _name_of_errors(sdk), status)
    assert message in seen[f"{sdk} {scenario}"]["message"]


def test_a_worker_bound_as_a_service_answers_for_the_binding(seen: Seen):
    for scenario in ("service stream", "service 1.0.53 stream", "service 1.1.0 stream"):
        assert (seen[scenario].get("pieces"), seen[scenario].get("is_done")) == (list(PIECES), True), seen[scenario]
    assert seen["service plain"]["answer"] == seen["none plain"]["answer"]
    assert seen["service models"] == seen["models"]
    # What the README warns of: the options of a call go to the service as data.
    assert seen["service 1.2.2 plain"]["raised"] == "DataCloneError"
    assert seen["service unknown_model"]["message"] == "5007: No such model @cf/none/none or task"


def _name_of_errors(sdk: str) -> str:
    """The binding names its exception as the answer does, the SDKs before it all by one name."""
    return "AiError" if sdk in ("1.2.2", "none") else "InferenceUpstreamError"
