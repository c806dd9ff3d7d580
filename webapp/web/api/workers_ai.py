"""The Workers AI dialect: `POST /client/v4/accounts/<account>/ai/run/<model>`, its answers, chunks and errors.

Source: Cloudflare's documentation of Workers AI (REST API, errors, model schemas), as of 2023 to 2026.
"""

from functools import partial

from flask import Blueprint, Response, request

from webapp.web import errors
from webapp.web.api.envelope import describe, envelope, error_response, request_id
from webapp.web.gate import Gate
from webapp.web.generations import Generations, WholeAnswer, failure_of
from webapp.web.json_body import read_json_body
from webapp.web.replies import json_reply
from webapp.web.request_fields import read_fields
from webapp.web.sse import DONE, Item, data_frame, stream
from webapp.wire.generation import Delta, Finished, Usage
from webapp.wire.messages import Published


def blueprint(generations: Generations, gate: Gate) -> Blueprint:
    """The routes of this dialect."""
    routes = Blueprint("workers_ai", __name__, url_prefix="/client/v4/accounts/<account>/ai")

    @routes.before_request
    def begin() -> None:
        gate.admit(request)

    @routes.after_request
    def name_request(response: Response) -> Response:
        response.headers["cf-ai-req-id"] = request_id()
        return response

    @routes.post("/run/<path:model>")
    def run(account: str, model: str) -> Response:
        fields = read_fields(read_json_body())
        submit, entry, serving = generations.prepare(fields, model, owner=gate.holder, client=gate.holder)
        gate.count_generation(request)
        if fields.stream:
            subscription, items = generations.start(submit)
            # Bound now: nothing of the request is at hand any more while the stream is written.
            write = partial(_chunk, request_id=request_id())
            response = stream(subscription, write, items=items)
        else:
            response = json_reply(envelope(_result(generations.answer(submit))))
        if serving is not entry:
            response.headers["x-jeton-served-by"] = serving.name
        return response

    routes.register_error_handler(errors.RequestError, error_response)
    return routes


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


def _failure(error: errors.RequestError, request_id: str) -> dict[str, object]:
    _, number, message = describe(error, request_id)
    return {"response": "", "success": False, "errors": [{"message": message, "code": number}]}
