"""Cloudflare's envelope: how every answer and error under `/client/v4` is wrapped, with its number and status.

Source: Cloudflare's documentation of Workers AI (errors) and what its API was seen to answer.
"""

import re
import uuid

from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from webapp.web import errors
from webapp.web.replies import json_reply, with_retry_after

# Status, Cloudflare's number, and the name that stands before the description.
ERRORS: dict[type[errors.RequestError], tuple[int, int, str]] = {
    errors.InvalidFields: (400, 5006, "Bad input"),
    errors.FeatureUnsupported: (400, 5006, "Bad input"),
    errors.SchemaUnsupported: (400, 5006, "Bad input"),
    errors.InvalidPrompt: (400, 5006, "Bad input"),
    errors.LoraUnsupported: (405, 5005, "LoRA unsupported"),
    errors.JsonModeFailed: (400, 5024, "JSON Mode couldn't be met"),
    errors.BodyMissing: (400, 3003, "Incomplete request"),
    errors.BodyTooLarge: (413, 3006, "Request too large"),
    errors.ModelNotFound: (400, 5007, "No such model"),
    errors.ModelNotInstalled: (503, 5007, "Model not installed"),
    errors.ModelUnavailable: (503, 3040, "Model unavailable"),
    errors.ContextWindowExceeded: (413, 5021, "Context window exceeded"),
    errors.RateLimitReached: (429, 3040, "Rate limit exceeded"),
    errors.ClientLimitReached: (429, 3040, "Capacity exceeded"),
    errors.PoolOverloaded: (429, 3040, "Capacity exceeded"),
    errors.PoolUnavailable: (503, 3040, "Pool unavailable"),
    errors.StorageBusy: (503, 3040, "Storage busy"),
    errors.StorageFull: (507, 3040, "Storage full"),
    errors.QueueTimeout: (408, 3007, "Request timeout"),
    errors.GenerationTimeout: (408, 3007, "Request timeout"),
    errors.GenerationAborted: (408, 3008, "Request aborted"),
    errors.ReaderLeft: (408, 3008, "Request aborted"),
}
# These come from the gate, before Workers AI has seen the request, and look different.
GATE_ERRORS: dict[type[errors.RequestError], tuple[int, int, str]] = {
    errors.ApiTokenMissing: (401, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
    errors.ApiTokenInvalid: (401, 10000, "Authentication error"),
    errors.ApiTokenForbidden: (403, 10000, "Authentication error"),
    errors.WrongTokenLimitReached: (429, 10000, "Authentication error"),
}
ROUTE_PROBLEM = {"code": 7000, "message": "No route for that URI"}
# Ours: Cloudflare documents no number for a fault inside.
INTERNAL = (500, 5000, "Generation failed")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def envelope(result: object, **more: object) -> dict[str, object]:
    """A result, wrapped; `more` are members beside it."""
    return {"result": result, "success": True, "errors": [], "messages": []} | more


def describe(error: errors.RequestError, request_id: str) -> tuple[int, int, str]:
    """Status, Cloudflare's number and its message for an error."""
    gate = GATE_ERRORS.get(type(error))
    if gate:
        return gate
    status, number, name = ERRORS.get(type(error), INTERNAL)
    return status, number, f"AiError: {name}: {error.message} ({request_id})"


def request_id() -> str:
    """This request's id, made where it is first asked for: some requests are refused before any route has them.

    @cloudflare/ai 1.0.53 gives its requests ids, which it tells its user, and reads none in the answer.
    """
    given = request.headers.get("cf-ai-req-id", "")
    return g.setdefault("request_id", given if _UUID.fullmatch(given) else str(uuid.uuid4()))


def name_request(response: Response) -> Response:
    """The response with its request's id, by which the binding tells it (`env.AI.lastRequestId`)."""
    response.headers["cf-ai-req-id"] = request_id()
    return response


def is_of_gate(error: errors.RequestError) -> bool:
    """Whether the gate has refused, before the request was looked at."""
    return type(error) in GATE_ERRORS


def error_response(error: errors.RequestError) -> Response:
    """The answer to a request that is refused, or fails before its stream begins."""
    status, number, message = describe(error, request_id())
    is_gate = is_of_gate(error)
    problem = {"errors": [{"message": message, "code": number}], "success": False, "messages": []}
    return with_retry_after(json_reply(problem | {"result": None if is_gate else {}}, status), error)


def route_error_response(error: HTTPException) -> Response:
    """The answer to a path or method that this API does not have, or to a request that fails by our fault."""
    status = error.code or 404
    is_fault = status >= 500
    problem = {"code": INTERNAL[1], "message": INTERNAL[2]} if is_fault else ROUTE_PROBLEM
    if status == 400:
        # The request itself cannot be read: its reason says more than that there is no such route.
        problem = {"code": 5006, "message": f"AiError: Bad input: {error.description} ({request_id()})"}
    return name_request(json_reply({"success": False, "errors": [problem], "messages": [], "result": None}, status))
