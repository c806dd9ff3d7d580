"""The Worker binding: what `env.AI` and every version of @cloudflare/ai send, and the answers each of them reads.

Source: the packages' own code and workerd's `cloudflare-internal:ai-api`; docs/workers-binding.md has who sends what.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import msgspec
from flask import Blueprint, Response, g, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from webapp.web import errors
from webapp.web.api.envelope import describe, error_response, is_of_gate, name_request, request_id
from webapp.web.api.workers_ai.model_search import ModelSearch
from webapp.web.api.workers_ai.runs import Runs, failure_chunk
from webapp.web.api.workers_ai.tensors import TensorRequest, embeddings_result, read_prompt, read_texts, text_result
from webapp.web.fields import read_struct
from webapp.web.gate import Gate
from webapp.web.generations import WholeAnswer, failure_of
from webapp.web.hosts import BINDING_PATHS, MODELS_PATH
from webapp.web.json_body import read_json_body
from webapp.web.replies import json_reply, with_retry_after
from webapp.web.sse import DONE, Item, data_frame
from webapp.wire.generation import Delta, Finished
from webapp.wire.messages import Published

# What each version of the wire is: 1 has no number in the URL and speaks in tensors.
_VERSIONS = ("1", "2", "3")
_MOST_QUERY_FIELDS = 50


class Run(msgspec.Struct, frozen=True):
    """The body of a run, from version 2 on: what the model is given, and the third argument of `env.AI.run`."""

    inputs: dict[str, object]
    options: dict[str, object] | None = None


@dataclass(frozen=True)
class Target:
    """What the binding has called: `https://workers-binding.ai/run?version=3`, without its host."""

    path: str
    query: Mapping[str, str]


def blueprint(runs: Runs, models: ModelSearch, gate: Gate) -> Blueprint:
    """The binding's own paths, and the route through which wrangler sends them."""
    routes = Blueprint("binding", __name__)

    @routes.before_request
    def begin() -> None:
        gate.admit(request)

    @routes.route("/client/v4/accounts/<account>/ai/run/proxy", methods=["GET", "POST"])
    def forwarded(account: str) -> Response:
        return answer(_read_target(request.headers.get("X-Forwarded")))

    def direct() -> Response:
        return answer(Target(request.path, request.args))

    for path in BINDING_PATHS:
        routes.add_url_rule(path, view_func=direct, methods=["GET"] if path == MODELS_PATH else ["GET", "POST"])

    def answer(target: Target) -> Response:
        if target.path not in BINDING_PATHS:
            raise NotFound
        if target.path == MODELS_PATH:
            if request.method == "POST":
                raise MethodNotAllowed(["GET"])
            return models.search(target.query)
        return run(_read_version(target))

    def run(version: str) -> Response:
        if request.method != "POST":
            raise errors.FeatureUnsupported("websocket: this server has none; leave the option out")
        model = request.headers.get("cf-consn-model-id")
        if not model:
            raise errors.BodyMissing("Request is missing headers or body: cf-consn-model-id")
        given = read_json_body()
        if version == "1":
            return run_tensors(read_struct(TensorRequest, given), model)
        asked = read_struct(Run, given)
        inputs = asked.inputs | ({"options": asked.options} if asked.options else {})
        return runs.run(inputs, model, _packed_reply if version == "2" else json_reply)

    def run_tensors(given: TensorRequest, model: str) -> Response:
        if runs.makes_embeddings(model):
            texts = read_texts(given)
            return runs.embed(
                texts, model, field="input_text", reply=lambda answer: json_reply(embeddings_result(answer.vectors()))
            )
        fields = read_prompt(given, most_tokens=runs.sequence_length(model))
        return runs.generate(fields, model, reply=_tensor_reply, write=TensorChunks)

    routes.after_request(name_request)
    routes.register_error_handler(errors.RequestError, _refusal)
    return routes


class TensorChunks:
    """The frames of a stream of tensors, one for each piece of text.

    @cloudflare/ai makes its own `[DONE]` of the stream's end. A frame without a tensor makes it fail instead, as it
    is to where the generation has failed.
    """

    def __init__(self, generation_id: str, request_id: str) -> None:
        self._request_id = request_id

    def __call__(self, item: Item) -> bytes:
        if error := failure_of(item):
            return data_frame(failure_chunk(error, self._request_id))
        match item:
            case Published(event=Delta(text=text)):
                return data_frame(text_result(text))
            case Published(event=Finished()):
                return DONE
            case _:
                return b""


def _read_target(url: str | None) -> Target:
    if not url:
        raise errors.BodyMissing("Request is missing headers or body: X-Forwarded")
    try:
        parts = urlsplit(url)
        return Target(parts.path, dict(parse_qsl(parts.query, max_num_fields=_MOST_QUERY_FIELDS)))
    except ValueError:
        raise errors.InvalidFields({"X-Forwarded": "must be the URL that the binding has called"}) from None


def _read_version(target: Target) -> str:
    version = target.query.get("version", "1")
    if version not in _VERSIONS:
        raise errors.InvalidFields({"version": "must be 2 or 3; without it, tensors are spoken"})
    # Where it is refused, for the shape of its error.
    g.binding_version = version
    return version


def _packed_reply(result: object) -> Response:
    """The result for @cloudflare/ai 1.1.0, which decompresses it by itself, and asks no header whether it has to."""
    # Only wrapped, not made smaller: two thousand vectors take seconds, in which no stream of this process goes on.
    packed = gzip.compress(msgspec.json.encode(result), 0, mtime=0)
    return Response(packed, content_type="application/json")


def _tensor_reply(answer: WholeAnswer) -> Response:
    return json_reply(text_result(answer.text))


def _refusal(error: errors.RequestError) -> Response:
    """The error in the shape that its reader takes apart. Before the version is known that is the envelope."""
    version = g.get("binding_version")
    if version is None or is_of_gate(error):
        return error_response(error)
    status, number, message = describe(error, request_id())
    if version != "3":
        # All that these throw is the body and the status.
        return with_retry_after(Response(message, status=status, content_type="text/plain; charset=utf-8"), error)
    problem = {
        "name": "AiError",
        "internalCode": number,
        "httpCode": status,
        "message": message,
        "description": error.message,
        "requestId": request_id(),
    }
    return with_retry_after(json_reply(problem, status), error)
