"""curl on the run route."""

import json
import shlex
import subprocess
from collections.abc import Callable

import pytest

from tests.clients.conftest import PIECES

ERRORS = {
    "bad_token": (401, 10000, {"token": "wrong"}),
    "bad_field": (400, 5006, {"temperature": 9}),
    "unknown_model": (400, 5007, {"model": "@jeton/none"}),
    "long_prompt": (413, 5021, {"model": "small_model", "prompt": "long_prompt", "max_tokens": 4}),
    "too_often": (429, 3040, {"token": "limited_token"}),
}


def command(config: dict, *options: str, token: str = "token", model: str = "model", **body: object) -> str:
    """The published command with this body, as a shell takes it."""
    model, token = config.get(model, model), config.get(token, token)
    data = {"prompt": config["prompt"]} | body
    data["prompt"] = config.get(data["prompt"], data["prompt"])
    words = ["curl", "-sS", *options, "-X", "POST", f"{config['url']}/client/v4/accounts/an-account/ai/run/{model}"]
    return shlex.join([*words, "-H", f"Authorization: Bearer {token}", "-d", json.dumps(data)])


def test_a_run_is_streamed_in_pieces_and_equals_the_plain_one(config: Callable[..., dict]):
    streamed = subprocess.check_output(["bash", "-c", command(config(), "-N", stream=True)], text=True)
    plain = json.loads(subprocess.check_output(["bash", "-c", command(config())]))

    *chunks, last, end = streamed.split("\n\n")
    assert [piece_of(chunk) for chunk in chunks if piece_of(chunk)] == list(PIECES)
    assert (last, end) == ("data: [DONE]", "")
    assert plain["result"]["response"] == "".join(PIECES)


# Else it waits for minutes, and the test's own limit ends it.
def test_the_first_piece_is_printed_long_before_the_end(config: Callable[..., dict]):
    asked = shlex.split(command(config(), "-N", stream=True, prompt="slow_prompt"))
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        process.kill()

    assert piece_of(first) == PIECES[0]


def piece_of(chunk: str) -> str:
    return json.loads(chunk.removeprefix("data: "))["response"]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(("status", "code", "fields"), ERRORS.values(), ids=ERRORS)
def test_an_error_has_its_status_and_code(
    config: Callable[..., dict], status: int, code: int, fields: dict, is_stream: bool
):
    asked = command(config(), "-w", "\n%{http_code}", stream=is_stream, **fields)
    # The limit is reached after a few.
    for _ in range(8):
        body, _, answered = subprocess.check_output(["bash", "-c", asked], text=True).rpartition("\n")
        if answered != "200":
            break

    assert (int(answered), json.loads(body)["errors"][0]["code"]) == (status, code)


def test_curl_fails_where_it_is_told_to(config: Callable[..., dict]):
    refused = command(config(), "--fail-with-body", stream=True, token="wrong")

    ran = subprocess.run(["bash", "-c", refused], capture_output=True, text=True)

    assert ran.returncode == 22
    assert "Authentication error" in ran.stdout
