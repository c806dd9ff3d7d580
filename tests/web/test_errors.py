"""What goes wrong has one code each, and in the Workers AI dialect its published status, number and shape."""

import re
from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest
from flask import Flask, Response, g

from webapp.engine import errors as engine_errors
from webapp.web import errors
from webapp.web.api.envelope import error_response
from webapp.web.api.openai import errors as openai_errors
from webapp.web.api.workers_ai.runs import failure_chunk
from webapp.web.errors import GenerationFailed, InvalidFields, RequestError, error_from_wire
from webapp.web.refusals import refuse
from webapp.wire.generation import FinishReason

REQUEST_ID = "3f0b9a1e-0000-4000-8000-000000000000"

# Each error's own status; then the status, number and name that Workers AI has for it.
TABLE: dict[type[RequestError], tuple[int, int, int, str]] = {
    errors.InvalidFields: (400, 400, 5006, "AiError: Bad input: "),
    errors.FeatureUnsupported: (400, 400, 5006, "AiError: Bad input: "),
    errors.SchemaUnsupported: (400, 400, 5006, "AiError: Bad input: "),
    errors.LoraUnsupported: (405, 405, 5005, "AiError: LoRA unsupported: "),
    errors.JsonModeFailed: (400, 400, 5024, "AiError: JSON Mode couldn't be met: "),
    errors.InvalidPrompt: (400, 400, 5006, "AiError: Bad input: "),
    errors.BodyMissing: (400, 400, 3003, "AiError: Incomplete request: "),
    errors.BodyTooLarge: (413, 413, 3006, "AiError: Request too large: "),
    errors.ModelNotFound: (404, 400, 5007, "AiError: No such model: "),
    errors.ModelNotInstalled: (503, 503, 5007, "AiError: Model not installed: "),
    errors.ModelUnavailable: (503, 503, 3040, "AiError: Model unavailable: "),
    errors.ContextWindowExceeded: (413, 413, 5021, "AiError: Context window exceeded: "),
    errors.ClientLimitReached: (429, 429, 3040, "AiError: Capacity exceeded: "),
    errors.PoolOverloaded: (503, 429, 3040, "AiError: Capacity exceeded: "),
    errors.PoolUnavailable: (503, 503, 3040, "AiError: Pool unavailable: "),
    errors.RateLimitReached: (429, 429, 3040, "AiError: Rate limit exceeded: "),
    errors.StorageBusy: (503, 503, 3040, "AiError: Storage busy: "),
    errors.StorageFull: (507, 507, 3040, "AiError: Storage full: "),
    errors.QueueTimeout: (408, 408, 3007, "AiError: Request timeout: "),
    errors.GenerationTimeout: (408, 408, 3007, "AiError: Request timeout: "),
    errors.GenerationNotFound: (404, 500, 5000, "AiError: Generation failed: "),
    errors.GenerationAborted: (503, 408, 3008, "AiError: Request aborted: "),
    errors.ReaderLeft: (499, 408, 3008, "AiError: Request aborted: "),
    errors.GenerationFailed: (500, 500, 5000, "AiError: Generation failed: "),
    errors.ApiTokenMissing: (401, 401, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
    errors.ApiTokenInvalid: (401, 401, 10000, "Authentication error"),
    errors.ApiTokenForbidden: (403, 403, 10000, "Authentication error"),
    errors.WrongTokenLimitReached: (429, 429, 10000, "Authentication error"),
}
GATE = {errors.ApiTokenMissing, errors.ApiTokenInvalid, errors.ApiTokenForbidden, errors.WrongTokenLimitReached}
# Status, type, param and code under `/v1`.
OPENAI: dict[type[RequestError], tuple[int, str, str | None, str | None]] = {
    errors.InvalidFields: (400, "invalid_request_error", "field", None),
    errors.FeatureUnsupported: (400, "invalid_request_error", None, "unsupported_parameter"),
    errors.SchemaUnsupported: (400, "invalid_request_error", None, "invalid_json_schema"),
    errors.LoraUnsupported: (400, "invalid_request_error", "lora", "unsupported_parameter"),
    errors.JsonModeFailed: (400, "invalid_request_error", None, "json_mode_failed"),
    errors.InvalidPrompt: (400, "invalid_request_error", None, "invalid_prompt"),
    errors.BodyMissing: (400, "invalid_request_error", None, None),
    errors.BodyTooLarge: (413, "invalid_request_error", None, "request_too_large"),
    errors.ModelNotFound: (404, "invalid_request_error", "model", "model_not_found"),
    errors.ModelNotInstalled: (503, "server_error", "model", "model_not_installed"),
    errors.ModelUnavailable: (503, "server_error", "model", "model_unavailable"),
    errors.ContextWindowExceeded: (400, "invalid_request_error", None, "context_length_exceeded"),
    errors.ClientLimitReached: (429, "requests", None, "rate_limit_exceeded"),
    errors.PoolOverloaded: (429, "server_error", None, "engine_overloaded"),
    errors.PoolUnavailable: (503, "server_error", None, "engine_unavailable"),
    errors.RateLimitReached: (429, "requests", None, "rate_limit_exceeded"),
    errors.StorageBusy: (503, "server_error", None, "storage_busy"),
    errors.StorageFull: (507, "server_error", None, "storage_full"),
    errors.QueueTimeout: (408, "server_error", None, "timeout"),
    errors.GenerationTimeout: (408, "server_error", None, "timeout"),
    errors.GenerationNotFound: (404, "invalid_request_error", None, "not_found"),
    errors.GenerationAborted: (503, "server_error", None, "generation_aborted"),
    errors.ReaderLeft: (499, "server_error", None, "generation_aborted"),
    errors.GenerationFailed: (500, "server_error", None, "generation_failed"),
    errors.ApiTokenMissing: (401, "invalid_request_error", None, None),
    errors.ApiTokenInvalid: (401, "invalid_request_error", None, "invalid_api_key"),
    errors.ApiTokenForbidden: (403, "invalid_request_error", None, "insufficient_permissions"),
    errors.WrongTokenLimitReached: (429, "requests", None, "rate_limit_exceeded"),
}
# What only pages answer: no dialect has a number for it.
OF_PAGES: dict[type[RequestError], int] = {
    errors.RunNotShareable: 409,
    errors.LinkNotFound: 404,
    errors.LinkGone: 410,
    errors.LinkForbidden: 403,
    errors.LinkQuotaReached: 429,
    errors.ReplayLimitReached: 503,
}
ALL = [error for error in RequestError.__subclasses__() if error is not errors.PageError]


def make(kind: type[RequestError], message: str = "What was wrong.") -> RequestError:
    if kind is InvalidFields:
        return InvalidFields({"field": message})
    if kind is GenerationFailed:
        return GenerationFailed("EngineLost", message)
    return kind(message)


@pytest.fixture
def in_request() -> Iterator[None]:
    with Flask(__name__).test_request_context("/"):
        g.request_id = REQUEST_ID
        yield


def test_tables_list_every_error() -> None:
    assert set(TABLE) == set(OPENAI) == set(ALL)
    assert set(OF_PAGES) == set(errors.PageError.__subclasses__())


def test_tree_in_the_docstring_lists_every_error_with_its_status() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d{3})", errors.__doc__ or ""))

    assert drawn == {error.__name__: str(error.status) for error in (*ALL, errors.PageError, *OF_PAGES)}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_error_has_its_own_status(kind: type[RequestError]) -> None:
    assert kind.status == TABLE[kind][0]


@pytest.mark.parametrize("kind", OF_PAGES, ids=lambda kind: kind.__name__)
def test_page_answers_with_the_status_code_and_sentence_of_what_is_only_its_own(
    app: Flask, kind: type[RequestError]
) -> None:
    with app.test_request_context("/", headers={"HX-Request": "true"}):
        response = refuse(kind("What was wrong.", retry_after=3))

    assert response.status_code == kind.status == OF_PAGES[kind]
    assert f'data-code="{kind.__name__}"' in response.get_data(as_text=True)
    assert "What was wrong." in response.get_data(as_text=True)
    assert response.headers["Retry-After"] == "3"


@pytest.mark.usefixtures("in_request")
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_workers_ai_answers_with_its_own_status_number_and_shape(kind: type[RequestError]) -> None:
    _, status, number, beginning = TABLE[kind]
    error = make(kind)

    response = error_response(error)

    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    body = msgspec.json.decode(response.data)
    is_gate = kind in GATE
    message = beginning if is_gate else f"{beginning}{error.message} ({REQUEST_ID})"
    assert body == {
        "errors": [{"message": message, "code": number}],
        "success": False,
        "result": None if is_gate else {},
        "messages": [],
    }


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_openai_answers_with_its_own_status_type_and_code(kind: type[RequestError]) -> None:
    status, error_type, param, code = OPENAI[kind]
    error = make(kind)

    response = openai_errors.error_response(error)

    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    problem = msgspec.json.decode(response.data)["error"]
    assert error.message in problem.pop("message")
    assert problem == {"type": error_type, "param": param, "code": code}


def test_openai_tells_when_to_come_back_and_when_not_to() -> None:
    later = openai_errors.error_response(errors.PoolOverloaded("later", retry_after=3))
    lasting = openai_errors.tell_retries(Response(), errors.ModelNotInstalled("Install it."))
    passing = openai_errors.tell_retries(Response(), errors.PoolUnavailable("It is starting."))

    assert later.headers["Retry-After"] == "3"
    assert lasting.headers["x-should-retry"] == "false"
    assert "x-should-retry" not in passing.headers


def test_openai_names_a_context_that_is_too_long_in_the_words_that_clients_look_for() -> None:
    body = openai_errors.error_body(errors.ContextWindowExceeded("It has 5000 tokens."))

    assert body["error"]["message"] == "This model's maximum context length is exceeded. It has 5000 tokens."


@pytest.mark.usefixtures("in_request")
def test_workers_ai_tells_when_to_come_back() -> None:
    with_time = error_response(errors.PoolOverloaded("later", retry_after=3))
    without = error_response(errors.PoolOverloaded("later"))

    assert with_time.headers["Retry-After"] == "3"
    assert "Retry-After" not in without.headers


@pytest.mark.usefixtures("in_request")
def test_message_with_any_text_stays_one_json_value() -> None:
    error = errors.ModelNotFound('No such model "\r\n\0\u2028</script>')

    body = msgspec.json.decode(error_response(error).data)

    assert error.message in body["errors"][0]["message"]


def test_failure_in_a_stream_has_the_shape_of_an_error_and_an_empty_response() -> None:
    chunk = failure_chunk(error_from_wire("EngineLost", "Lost."), REQUEST_ID)

    assert chunk == {
        "response": "",
        "success": False,
        "errors": [{"message": f"AiError: Generation failed: Lost. ({REQUEST_ID})", "code": 5000}],
    }


# What the pool and engines say, and what the web makes of it.
FROM_THE_WIRE = {
    "ModelNotFound": errors.ModelNotFound,
    "ModelUnavailable": errors.ModelUnavailable,
    "ContextWindowExceeded": errors.ContextWindowExceeded,
    "InvalidPrompt": errors.InvalidPrompt,
    "ClientLimitReached": errors.ClientLimitReached,
    "PoolOverloaded": errors.PoolOverloaded,
    "QueueTimeout": errors.QueueTimeout,
    "GenerationTimeout": errors.GenerationTimeout,
    "StorageFull": errors.StorageFull,
    "FeatureUnsupported": errors.FeatureUnsupported,
    "SchemaUnsupported": errors.SchemaUnsupported,
    "EngineLost": errors.GenerationFailed,
    "EngineFailure": errors.GenerationFailed,
    "EngineFull": errors.GenerationFailed,
    "OutOfMemory": errors.GenerationFailed,
    "GenerationLost": errors.GenerationFailed,
    "what no version knows": errors.GenerationFailed,
}


@pytest.mark.parametrize("code", FROM_THE_WIRE)
def test_code_from_the_wire_keeps_its_name_message_and_time(code: str) -> None:
    error = error_from_wire(code, "why", 5)

    assert type(error) is FROM_THE_WIRE[code]
    assert (error.code, error.message) == (code, "why")
    assert error.retry_after == (None if FROM_THE_WIRE[code] is GenerationFailed else 5)


def test_every_code_of_an_engine_is_in_the_table() -> None:
    engine_codes = {error.code for error in (engine_errors.EngineError, *engine_errors.EngineError.__subclasses__())}

    assert engine_codes <= set(FROM_THE_WIRE)


@pytest.mark.parametrize("code", ["InvalidPrompt", "ContextWindowExceeded"])
def test_what_the_client_sent_is_never_a_fault_of_the_server(code: str) -> None:
    assert 400 <= error_from_wire(code, "").status < 500


def test_invalid_fields_name_each_field() -> None:
    error = InvalidFields({"seed": "too big", "top_k": "too small"})

    assert error.message == "seed: too big; top_k: too small"


def test_finish_reasons_are_those_both_apis_know() -> None:
    assert set(get_args(FinishReason)) == {"stop", "length", "abort"}
