"""The starter model through every client: at temperature 0 its streamed text is its plain text."""

import json
from pathlib import Path

import pytest

from tests.clients.programs import run_node, run_python
from tests.harness import TOKEN, Server

MODEL = "@hf/huggingfacetb/smollm2-135m-instruct"
# Known to every generation of the SDK. The starter model stands in for it.
PUBLISHED_MODEL = "@cf/meta/llama-2-7b-chat-int8"
ACCOUNT_PATH = "/client/v4/accounts/an-account/ai/v1"
PYTHON = pytest.mark.python_clients
NODE = pytest.mark.node_clients


@pytest.mark.parametrize(
    ("run", "program", "settings"),
    [
        pytest.param(run_python, "with_cloudflare.py", {}, marks=PYTHON, id="cloudflare"),
        pytest.param(run_python, "with_openai.py", {"path": "/v1"}, marks=PYTHON, id="openai"),
        pytest.param(run_python, "with_llm.py", {"path": "/v1"}, marks=PYTHON, id="llm"),
        pytest.param(run_node, "with_ai_sdk.js", {"provider": "workers-ai-provider"}, marks=NODE, id="workers-ai"),
        pytest.param(
            run_node, "with_ai_sdk.js", {"path": "/v1", "provider": "openai-compatible"}, marks=NODE, id="ai-sdk"
        ),
    ],
)
def test_streamed_text_is_the_plain_text_at_temperature_zero(
    real_server: Server, tmp_path: Path, run, program: str, settings: dict
):
    config = make_config(real_server, folder=str(tmp_path), only=["plain", "stream"], **settings)
    seen = run(program, config)

    assert_same(seen["stream"], seen["plain"].get("text"))


@pytest.mark.python_clients
def test_streamed_text_is_the_plain_text_in_litellm_at_temperature_zero(real_server: Server):
    paths = {"cloudflare": ACCOUNT_PATH, "openai": "/v1"}
    only = [f"{provider} {scenario}" for provider in paths for scenario in ("plain", "stream")]
    seen = run_python("with_litellm.py", make_config(real_server, only=only, paths=paths))

    for provider in paths:
        assert_same(seen[f"{provider} stream"], seen[f"{provider} plain"]["text"])


@pytest.mark.python_clients
def test_a_json_schema_holds_the_model_to_it(real_server: Server):
    config = make_config(
        real_server, path="/v1", only=["json_schema"], json_prompt="Which city is the capital of Italy?"
    )
    seen = run_python("with_openai.py", config)

    assert "raised" not in seen["json_schema"], seen
    assert json.loads(seen["json_schema"]["text"])["city"] in ("Paris", "Rome")


# The SDKs before 1.1.0 send tensors, without a temperature; test_workerd.py compares theirs.
@pytest.mark.node_clients
def test_streamed_text_is_the_plain_text_in_workerd_at_temperature_zero(real_server: Server):
    sdks = ("1.1.0", "1.2.2", "none")
    only = [f"{sdk} {scenario}" for sdk in sdks for scenario in ("plain", "stream")]
    seen = run_node("with_workerd.js", make_config(real_server, only=only, model=PUBLISHED_MODEL))

    for sdk in sdks:
        assert_same(seen[f"{sdk} stream"], seen[f"{sdk} plain"]["answer"]["response"])


@pytest.mark.node_clients
def test_the_text_of_an_event_source_is_the_plain_text_at_temperature_zero(real_server: Server):
    config = make_config(real_server, only=["stream"])
    seen = run_node("with_eventsource.js", config)
    fields = {"prompt": config["prompt"], "max_tokens": config["max_tokens"], "temperature": 0}
    plain = real_server.run(MODEL, **fields).json()

    assert_same(seen["stream"], plain["result"]["response"])


def make_config(server: Server, *, path: str = "", **more: object) -> dict:
    return {
        "url": server.url,
        "base_url": server.url + path,
        "token": TOKEN,
        "limited_token": TOKEN,
        "model": MODEL,
        "small_model": MODEL,
        "prompt": "Name three cities of France.",
        "slow_prompt": "",
        "long_prompt": "",
        "tool_prompt": "",
        "json_prompt": "",
        "max_tokens": 24,
    } | more


def assert_same(streamed: dict, plain: str | None) -> None:
    assert "raised" not in streamed, streamed
    assert len(streamed["pieces"]) > 1
    assert "".join(streamed["pieces"]) == plain
