"""OpenAI's errors: each one's status, type and code, in the shape that clients of its API read.

Source: OpenAI's API reference (error codes), and how its own clients choose their exception and whether to try again.
Knows no route. Under `/client/v4` the same errors come in Cloudflare's envelope (`envelope.py`).
"""

from flask import Response
from werkzeug.exceptions import HTTPException

from webapp.web import errors
from webapp.web.api.envelope import request_id
from webapp.web.replies import json_reply, with_retry_after

_ASKED_WRONG = "invalid_request_error"
_FAULT = "server_error"
_LIMIT = "requests"

# Status, type and code.
ERRORS: dict[type[errors.RequestError], tuple[int, str, str | None]] = {
    errors.InvalidFields: (400, _ASKED_WRONG, None),
    errors.FeatureUnsupported: (400, _ASKED_WRONG, "unsupported_parameter"),
    errors.LoraUnsupported: (400, _ASKED_WRONG, "unsupported_parameter"),
    errors.SchemaUnsupported: (400, _ASKED_WRONG, "invalid_json_schema"),
    errors.JsonModeFailed: (400, _ASKED_WRONG, "json_mode_failed"),
    errors.InvalidPrompt: (400, _ASKED_WRONG, "invalid_prompt"),
    # Clients look for this code, and shorten the conversation.
    errors.ContextWindowExceeded: (400, _ASKED_WRONG, "context_length_exceeded"),
    errors.BodyMissing: (400, _ASKED_WRONG, None),
    errors.BodyTooLarge: (413, _ASKED_WRONG, "request_too_large"),
    errors.ApiTokenMissing: (401, _ASKED_WRONG, None),
    errors.ApiTokenInvalid: (401, _ASKED_WRONG, "invalid_api_key"),
    errors.ApiTokenForbidden: (403, _ASKED_WRONG, "insufficient_permissions"),
    errors.ModelNotFound: (404, _ASKED_WRONG, "model_not_found"),
    errors.GenerationNotFound: (404, _ASKED_WRONG, "not_found"),
    errors.ModelNotInstalled: (503, _FAULT, "model_not_installed"),
    errors.ModelUnavailable: (503, _FAULT, "model_unavailable"),
    errors.WrongTokenLimitReached: (429, _LIMIT, "rate_limit_exceeded"),
    errors.RateLimitReached: (429, _LIMIT, "rate_limit_exceeded"),
    errors.ClientLimitReached: (429, _LIMIT, "rate_limit_exceeded"),
    # Clients wait and try again after 429 and 503 alike; one of both addresses sees the same exception on both.
    errors.PoolOverloaded: (429, _FAULT, "engine_overloaded"),
    errors.PoolUnavailable: (503, _FAULT, "engine_unavailable"),
    errors.QueueTimeout: (408, _FAULT, "timeout"),
    errors.GenerationTimeout: (408, _FAULT, "timeout"),
    errors.StorageBusy: (503, _FAULT, "storage_busy"),
    errors.StorageFull: (507, _FAULT, "storage_full"),
    errors.GenerationAborted: (503, _FAULT, "generation_aborted"),
    errors.ReaderLeft: (499, _FAULT, "generation_aborted"),
    errors.GenerationFailed: (500, _FAULT, "generation_failed"),
}
# The field that has to change, where the error does not name its own.
_FIELDS: dict[type[errors.RequestError], str] = {
    errors.ModelNotFound: "model",
    errors.ModelNotInstalled: "model",
    errors.ModelUnavailable: "model",
    errors.LoraUnsupported: "lora",
}
# No second attempt finds these otherwise, and OpenAI's clients make two of their own after a 503 or a 408.
_LASTING = (errors.ModelNotInstalled, errors.ModelUnavailable, errors.GenerationTimeout)
_INTERNAL = (500, _FAULT, None)


def error_body(error: errors.RequestError) -> dict[str, object]:
    """`{"error": {message, type, param, code}}`: the body of an answer, and the last chunk of a stream that fails."""
    _, kind, code = ERRORS.get(type(error), _INTERNAL)
    return _body(_message(error), kind, param=_param(error), code=code)


def error_response(error: errors.RequestError) -> Response:
    """The answer under `/v1`."""
    status, _, _ = ERRORS.get(type(error), _INTERNAL)
    return with_retry_after(json_reply(error_body(error), status), error)


def tell_retries(response: Response, error: errors.RequestError) -> Response:
    """The response to an error, telling OpenAI's clients where trying again is of no use."""
    if isinstance(error, _LASTING):
        response.headers["x-should-retry"] = "false"
    return response


def route_error_response(error: HTTPException, *, method: str, path: str) -> Response:
    """The answer to a path or method that this API does not have, or to a request that fails by our fault."""
    status = error.code or 404
    if status >= 500:
        body = _body("The server had an error.", _FAULT)
    elif status == 404:
        body = _body(f"Invalid URL ({method} {path})", _ASKED_WRONG)
    elif status == 405:
        body = _body(f"Not allowed to {method} on {path}", _ASKED_WRONG)
    else:
        body = _body(error.description or error.name, _ASKED_WRONG)
    response = json_reply(body, status)
    response.headers["x-request-id"] = request_id()
    return response


def _body(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _message(error: errors.RequestError) -> str:
    if isinstance(error, errors.ContextWindowExceeded):
        # The words by which clients know the case that do not look at its code.
        return f"This model's maximum context length is exceeded. {error.message}"
    if isinstance(error, errors.ModelNotFound):
        return f"{error.message}; GET models lists those that there are"
    return error.message


def _param(error: errors.RequestError) -> str | None:
    if isinstance(error, errors.InvalidFields):
        return next(iter(error.fields), None)
    return _FIELDS.get(type(error))
