"""The Workers AI dialect: `POST /client/v4/accounts/<account>/ai/run/<model>`, its answers, chunks and errors.

Source: Cloudflare's documentation of Workers AI (REST API, errors, model schemas), as of 2023 to 2026.
"""

import uuid
from functools import partial

import msgspec
from flask import Blueprint, Response, g, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from webapp.web import errors
from webapp.web.auth import ApiTokens
from webapp.web.generations import Generations, WholeAnswer, failure_of
from webapp.web.limits import RateLimits
from webapp.web.replies import json_reply, with_retry_after
from webapp.web.request_fields import read_fields
from webapp.web.sse import DONE, Item, data_frame, stream
from webapp.wire.generation import Delta, Finished, Usage
from webapp.wire.messages import Published

# Status, Cloudflare's number, and the name that stands before the description.
ERRORS: dict[type[errors.RequestError], tuple[int, int, str]] = {
    errors.InvalidFields: (400, 5006, "Bad input"),
    errors.FeatureUnsupported: (400, 5006, "Bad input"),
    errors.InvalidPrompt: (400, 5006, "Bad input"),
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
    errors.WrongTokenLimitReached: (429, 10000, "Authentication error"),
}
_ROUTE_PROBLEM = {"code": 7000, "message": "No route for that URI"}
# Ours: Cloudflare documents no number for a fault inside.
INTERNAL = (500, 5000, "Generation failed")


def blueprint(generations: Generations, tokens: ApiTokens, limits: RateLimits) -> Blueprint:
    """The routes of this dialect."""
    routes = Blueprint("workers_ai", __name__, url_prefix="/client/v4/accounts/<account>/ai")

    @routes.before_request
    def begin() -> None:
        try:
            g.holder = tokens.authenticate(request)
        except errors.ApiTokenInvalid:
            limits.count_wrong_token(request)
            raise

    @routes.after_request
    def name_request(response: Response) -> Response:
        response.headers["cf-ai-req-id"] = _request_id()
        return response

    @routes.post("/run/<path:model>")
    def run(account: str, model: str) -> Response:
        fields = read_fields(_read_body())
        submit, entry, serving = generations.prepare(fields, model, owner=g.holder, client=g.holder)
        limits.count_generation(request, holder=g.holder)
        if fields.stream:
            subscription, items = generations.start(submit)
            # Bound now: nothing of the request is at hand any more while the stream is written.
            write = partial(_chunk, request_id=_request_id())
            response = stream(subscription, write, items=items)
        else:
            response = json_reply(_envelope(_result(generations.answer(submit))))
        if serving is not entry:
            response.headers["x-jeton-served-by"] = serving.name
        return response

    routes.register_error_handler(errors.RequestError, _error_response)
    return routes


def _read_body() -> dict[str, object]:
    """The body as JSON, whatever its content type says, as curl's default says form. Raises RequestError."""
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise errors.BodyTooLarge("The request's body is too large") from None
    except ClientDisconnected:
        # Also for chunks that cannot be read, whose client may still be there.
        raise errors.BodyMissing("The request's body is not complete") from None
    if request.content_length is None and len(body) == request.max_content_length:
        # Werkzeug cuts a chunked body off at the limit and says nothing.
        raise errors.BodyTooLarge("The request's body is too large")
    if not body.strip():
        raise errors.BodyMissing("The request has no body")
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise errors.InvalidFields({"body": f"must be a JSON object: {error}"}) from None


def _result(answer: WholeAnswer) -> dict[str, object]:
    assert answer.finished is not None
    return {"response": answer.text, "tool_calls": [], "usage": _usage(answer.finished.usage)}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _chunk(item: Item, *, request_id: str) -> bytes:
    """The frames of one event: `data:` lines only, without ids, as the published stream has them.

    A failure half-way has errors in its last chunk and no `[DONE]`: clients then know the answer is not whole.
    """
    if error := failure_of(item):
        return data_frame(_failure(error, request_id))
    match item:
        case Published(event=Delta(text=text)):
            return data_frame({"response": text})
        case Published(event=Finished(usage=usage)):
            return data_frame({"response": "", "usage": _usage(usage)}) + DONE
        case _:
            return b""


def _envelope(result: object) -> dict[str, object]:
    return {"result": result, "success": True, "errors": [], "messages": []}


def _failure(error: errors.RequestError, request_id: str) -> dict[str, object]:
    _, number, message = _describe(error, request_id)
    return {"response": "", "success": False, "errors": [{"message": message, "code": number}]}


def _describe(error: errors.RequestError, request_id: str) -> tuple[int, int, str]:
    gate = GATE_ERRORS.get(type(error))
    if gate:
        return gate
    status, number, name = ERRORS.get(type(error), INTERNAL)
    return status, number, f"AiError: {name}: {error.message} ({request_id})"


def _request_id() -> str:
    """This request's id, made where it is first asked for: some requests are refused before any route has them."""
    return g.setdefault("request_id", str(uuid.uuid4()))


def _error_response(error: errors.RequestError) -> Response:
    status, number, message = _describe(error, _request_id())
    is_gate = type(error) in GATE_ERRORS
    problem = {"errors": [{"message": message, "code": number}], "success": False, "messages": []}
    return with_retry_after(json_reply(problem | {"result": None if is_gate else {}}, status), error)


def route_error_response(error: HTTPException) -> Response:
    """The answer to a path or method that this API does not have, or to a request that fails by our fault."""
    status = error.code or 404
    is_fault = status >= 500
    problem = {"code": INTERNAL[1], "message": INTERNAL[2]} if is_fault else _ROUTE_PROBLEM
    if status == 400:
        # The request itself cannot be read: its reason says more than that there is no such route.
        problem = {"code": 5006, "message": f"AiError: Bad input: {error.description} ({_request_id()})"}
    return json_reply({"success": False, "errors": [problem], "messages": [], "result": None}, status)
