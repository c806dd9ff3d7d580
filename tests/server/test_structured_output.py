"""JSON mode over HTTP, with the shipped catalogue and the real starter model."""

import json
import os
import signal

import jsonschema_rs
import pytest

from tests.harness import TOKEN, Server, events

STARTER = "@hf/huggingfacetb/smollm2-135m-instruct"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["réel", "🌋"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
}
FORMAT = {"type": "json_schema", "json_schema": PERSON}


@pytest.mark.parametrize("parameters", [{"temperature": 0}, {"temperature": 1, "seed": 5}])
def test_an_answer_is_an_object_of_its_schema(real_server: Server, parameters: dict):
    answer = real_server.run(STARTER, prompt="Describe a person.", response_format=FORMAT, max_tokens=150, **parameters)

    assert answer.status_code == 200, answer.text
    jsonschema_rs.validate(PERSON, answer.json()["result"]["response"])


def test_an_object_stays_whole_when_its_engine_is_killed(real_server: Server):
    words = {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 12, "maxItems": 12}
    schema = {"type": "object", "properties": {"words": words}, "required": ["words"]}
    body = {
        "model": STARTER,
        "messages": [{"role": "user", "content": "Name twelve words."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "words", "schema": schema}},
        "seed": 3,
        "max_tokens": 400,
        "stream": True,
    }
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with real_server.client.stream("POST", "/v1/chat/completions", headers=headers, json=body) as response:
        assert response.status_code == 200, response.read()
        stream = events(response)
        taken = [next(stream) for _ in range(10)]
        os.kill(real_server.engine(STARTER)["pid"], signal.SIGKILL)
        taken += stream

    assert taken[-1].data == "[DONE]"
    choices = [choice for event in taken[:-1] for choice in event.json["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    jsonschema_rs.validate(schema, json.loads(text))
    assert choices[-1]["finish_reason"] == "stop"


def test_an_answer_that_is_too_short_to_be_whole_is_an_error(real_server: Server):
    answer = real_server.run(STARTER, prompt="Describe a person.", response_format=FORMAT, max_tokens=3)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5024)


def test_a_schema_that_no_answer_can_be_held_to_is_refused_with_the_reason(real_server: Server):
    unsupported = {"type": "json_schema", "json_schema": {"type": "array", "uniqueItems": True}}

    answer = real_server.run(STARTER, prompt="Describe a person.", response_format=unsupported)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5006)
    assert "uniqueItems" in answer.json()["errors"][0]["message"]


def test_a_model_whose_template_takes_no_tools_says_so(real_server: Server):
    tools = [{"name": "weather", "description": "Of a city.", "parameters": {"type": "object", "properties": {}}}]

    answer = real_server.run(STARTER, messages=[{"role": "user", "content": "How is Paris?"}], tools=tools)

    assert answer.status_code == 400
    assert f"The chat template of {STARTER} takes no tools." in answer.json()["errors"][0]["message"]


def test_a_schema_and_what_it_holds_are_not_in_the_log(real_server: Server):
    unsupported = {"type": "json_schema", "json_schema": {"type": "string", "pattern": "(?=Geheimnis)"}}

    answer = real_server.run(STARTER, prompt="Describe a person.", response_format=unsupported)

    assert answer.status_code == 400
    assert "Geheimnis" not in real_server.output
