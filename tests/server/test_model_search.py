"""The catalogue over a real server: searches, pages, schemas, tasks, authors and finetunes."""

import uuid

import httpx
import jsonschema_rs
import pytest

from tests.harness import TOKEN, Server

API = "/client/v4/accounts/acc/ai"
LLAMA = "@cf/meta/llama-2-7b-chat-int8"


def get(server: Server, path: str, *, token: str | None = TOKEN, **query: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # As the Python SDK writes them.
    params = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in query.items()}
    return server.client.get(f"{API}/{path}", headers=headers, params=params)


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["name"] for row in answer.json()["result"]]


def test_model_is_described_as_cloudflare_does(server: Server):
    answer = get(server, "models/search", search="llama")

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cf-ai-req-id"]
    (row,) = answer.json()["result"]
    assert uuid.UUID(row.pop("id")).version == 5
    assert row == {
        "source": 1,
        "name": LLAMA,
        "description": "Not installed; the scripted model stands in.",
        "task": {
            "id": "c329a1f9-323d-4e91-b2aa-582dd4188d34",
            "name": "Text Generation",
            "description": "Models that answer a prompt or a conversation.",
        },
        "created_at": "1970-01-01 00:00:00.000",
        "tags": [],
        "properties": [
            {"property_id": "context_window", "value": "2048"},
            {"property_id": "max_output_tokens", "value": "1800"},
            {"property_id": "sequence_length", "value": "1800"},
            {"property_id": "precision", "value": "int8"},
            {"property_id": "installed", "value": "false"},
            {"property_id": "stand_in", "value": "@jeton/scripted"},
        ],
    }
    assert answer.json()["result_info"] == {"count": 1, "page": 1, "per_page": 50, "total_count": 1}


def test_ids_stay_the_same_and_differ_by_model(server: Server):
    first, second = (get(server, "models/search").json()["result"] for _ in range(2))

    assert [row["id"] for row in first] == [row["id"] for row in second]
    assert len({row["id"] for row in first}) == len(first)


def test_pages_follow_each_other_and_one_past_the_end_is_empty(server: Server):
    whole = names(get(server, "models/search"))
    pages = [get(server, "models/search", page=page, per_page=3) for page in range(1, len(whole) // 3 + 3)]

    assert [name for page in pages for name in names(page)] == whole
    assert names(pages[-1]) == []
    assert pages[-1].json()["result_info"]["count"] == 0
    assert {page.json()["result_info"]["total_count"] for page in pages} == {len(whole)}
    assert names(get(server, "models/search", page=10**9)) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"author": "meta"}, [LLAMA]),
        ({"author": "META"}, [LLAMA]),
        ({"author": "met"}, []),
        ({"search": "LLAMA-2"}, [LLAMA]),
        ({"search": "eight numbers"}, ["@jeton/scripted-embeddings"]),
        ({"task": "Text Embeddings"}, ["@jeton/scripted-embeddings"]),
        ({"task": "0137cdcf-162a-4108-94f2-1ca59e8c65ee"}, ["@jeton/scripted-embeddings"]),
        ({"task": "Text-to-Image"}, []),
        ({"source": 2}, []),
        ({"source": 1.0, "author": "meta", "hide_experimental": True, "include_deprecated": False}, [LLAMA]),
        ({"search": "llama", "format": "openrouter"}, [LLAMA]),
        ({"search": "llama", "author": ""}, [LLAMA]),
        ({"search": "llama", "no_such_filter": 1}, [LLAMA]),
    ],
    ids=str,
)
def test_filters_leave_the_models_that_are_meant(server: Server, query: dict, expected: list[str]):
    assert names(get(server, "models/search", **query)) == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"page": 0}, "page"),
        ({"page": -1}, "page"),
        ({"page": "x"}, "page"),
        ({"page": 10**30}, "page"),
        ({"per_page": 0}, "per_page"),
        ({"per_page": 1001}, "per_page"),
        ({"per_page": 1.5}, "per_page"),
        ({"source": "x"}, "source"),
        ({"hide_experimental": "perhaps"}, "hide_experimental"),
        ({"format": "another"}, "format"),
    ],
    ids=str,
)
def test_query_that_cannot_be_used_is_refused_by_name(server: Server, query: dict, field: str):
    answer = get(server, "models/search", **query)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5006)
    assert answer.json()["errors"][0]["message"].startswith(f"AiError: Bad input: {field}: ")


def test_schema_says_what_a_model_takes_and_answers(server: Server):
    schema = get(server, "models/schema", model=LLAMA).json()["result"]

    fields = schema["input"]["properties"]
    assert fields["max_tokens"]["maximum"] == 1800
    assert fields["temperature"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 5}
    assert [kind["title"] for kind in schema["input"]["oneOf"]] == ["Prompt", "Messages"]
    whole, streamed = schema["output"]["oneOf"]
    assert set(whole["properties"]) == {"response", "tool_calls", "usage"}
    assert streamed["contentType"] == "text/event-stream"


def test_schema_of_an_embeddings_model_is_another(server: Server):
    schema = get(server, "models/schema", model="@jeton/scripted-embeddings").json()["result"]

    assert set(schema["input"]["properties"]) == {"text", "pooling"}
    assert set(schema["output"]["properties"]) == {"shape", "data", "pooling"}


@pytest.mark.parametrize(
    ("model", "body", "is_valid"),
    [
        ("@jeton/scripted", {"prompt": "a", "max_tokens": 1}, True),
        ("@jeton/scripted", {"messages": [{"role": "user", "content": "a"}], "prompt": None, "max_tokens": 1}, True),
        ("@jeton/scripted", {"prompt": "a", "max_tokens": 1, "tools": [{"name": "t"}], "no_such_field": 1}, True),
        ("@jeton/scripted", {"prompt": "a", "max_tokens": 2561}, False),
        ("@jeton/scripted", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, False),
        ("@jeton/scripted", {"prompt": "a", "lora": "mine"}, False),
        ("@jeton/scripted", {}, False),
        ("@jeton/scripted-embeddings", {"text": "a"}, True),
        ("@jeton/scripted-embeddings", {"text": ["a", "b"]}, True),
        ("@jeton/scripted-embeddings", {"text": []}, False),
        ("@jeton/scripted-embeddings", {"prompt": "a"}, False),
    ],
    ids=str,
)
def test_schema_says_what_the_server_does(server: Server, model: str, body: dict, *, is_valid: bool):
    schema = get(server, "models/schema", model=model).json()["result"]

    answer = server.run(model, **body)

    assert jsonschema_rs.is_valid(schema["input"], body) is is_valid
    assert (answer.status_code == 200) is is_valid
    if is_valid:
        jsonschema_rs.validate(schema["output"], answer.json()["result"])


@pytest.mark.parametrize(("query", "code"), [({}, 5006), ({"model": ""}, 5006), ({"model": "@cf/no/such"}, 5007)])
def test_schema_of_no_model_is_refused(server: Server, query: dict, code: int):
    answer = get(server, "models/schema", **query)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)


def test_tasks_and_authors_are_those_of_the_catalogue(server: Server):
    assert names(get(server, "tasks/search")) == ["Text Generation", "Text Embeddings"]
    assert names(get(server, "authors/search")) == ["jeton", "meta"]


@pytest.mark.parametrize("path", ["finetunes", "finetunes/public"])
def test_catalogue_without_adapters_has_no_finetunes(server: Server, path: str):
    assert names(get(server, path)) == []


@pytest.mark.parametrize("query", [{"limit": -1}, {"offset": "x"}])
def test_finetunes_are_refused_with_a_bad_query(server: Server, query: dict):
    assert get(server, "finetunes/public", **query).status_code == 400


@pytest.mark.parametrize(
    "path",
    ["models/search", "models/schema", "tasks/search", "authors/search", "finetunes", "finetunes/public"],
)
def test_catalogue_needs_a_token(server: Server, path: str):
    answer = get(server, path, token=None)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, 9106)


def test_what_jeton_does_not_have_is_no_route(server: Server):
    answer = server.client.post(f"{API}/tomarkdown", headers={"Authorization": f"Bearer {TOKEN}"})

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, 7000)
    assert answer.headers["cf-ai-req-id"]
