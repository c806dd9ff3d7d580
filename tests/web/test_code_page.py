"""Get code: the form of the playground becomes the body of a run, and is refused as the playground refuses it."""

import json
import re

import pytest
from flask.testing import FlaskClient

from webapp.web.code_page import run_body
from webapp.web.request_fields import read_fields

FORM = {"model": "@jeton/scripted", "prompt": "Hi", "temperature": "0.5", "top_k": "", "seed": "7", "max_tokens": "20"}
FRAGMENT = {"HX-Request": "true"}


@pytest.fixture
def csrf_token(client: FlaskClient) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"', client.get("/api").text)
    assert found
    return found[1]


def test_what_was_not_given_is_not_in_the_body() -> None:
    fields = read_fields({"prompt": "Hi", "temperature": "0.5", "seed": "7", "top_p": ""}, is_form=True)

    assert run_body(fields) == {"prompt": "Hi", "temperature": 0.5, "seed": 7, "stream": True}


def test_lone_prompt_is_a_prompt_and_a_conversation_is_messages() -> None:
    lone = [{"role": "user", "content": "Hi"}]
    told = [{"role": "system", "content": "Be brief."}, *lone]

    assert run_body(read_fields({"messages": lone})) == {"prompt": "Hi", "stream": True}
    assert run_body(read_fields({"messages": told})) == {"messages": told, "stream": True}


@pytest.mark.parametrize("headers", [FRAGMENT, {}], ids=["fragment", "page"])
def test_code_comes_as_a_fragment_or_as_a_page(client: FlaskClient, csrf_token: str, headers: dict) -> None:
    answer = client.post("/code", data=FORM | {"csrf_token": csrf_token}, headers=headers)

    assert answer.status_code == 200
    assert ("<!doctype html>" in answer.text) is (not headers)
    assert re.findall(r"<summary>(.*?)</summary>", answer.text) == [
        "curl", "Python", "Python, openai", "JavaScript", "EventSource", "Worker"
    ]  # fmt: skip
    assert "http://localhost/client/v4/accounts/local/ai/run/@jeton/scripted" in answer.text
    assert csrf_token not in answer.text.split("<main", 1)[-1]


@pytest.mark.parametrize(
    ("field", "value", "status", "code"),
    [
        ("prompt", " \r\n", 400, "InvalidFields"),
        ("temperature", "hot", 400, "InvalidFields"),
        ("max_tokens", "2561", 400, "InvalidFields"),
        ("history", "{", 400, "InvalidFields"),
        ("history", json.dumps({"role": "nobody", "content": "x"}), 400, "InvalidFields"),
        ("model", "@no/such", 404, "ModelNotFound"),
        ("model", "", 404, "ModelNotFound"),
        ("model", "@jeton/missing", 503, "ModelNotInstalled"),
    ],
)
@pytest.mark.parametrize("headers", [FRAGMENT, {}], ids=["fragment", "page"])
def test_what_cannot_be_used_is_refused_by_name(
    client: FlaskClient, csrf_token: str, headers: dict, field: str, value: str, status: int, code: str
) -> None:
    answer = client.post("/code", data=FORM | {"csrf_token": csrf_token, field: value}, headers=headers)

    assert answer.status_code == status
    if headers:
        assert f'data-code="{code}"' in answer.text
    else:
        assert "snippet" not in answer.text


def test_form_without_its_csrf_token_is_refused(client: FlaskClient) -> None:
    answer = client.post("/code", data=FORM, headers=FRAGMENT)

    assert (answer.status_code, 'data-code="CsrfTokenInvalid"' in answer.text) == (400, True)
