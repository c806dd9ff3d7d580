"""Where OpenAI's routes are: under `/v1`, and under Cloudflare's address of them, with its envelope for errors.

Answers, streams and their failures half-way are the same at both. Knows no field and no shape of an answer.
"""

from collections.abc import Callable

from flask import Blueprint, Response, request

from webapp.catalog import Catalog
from webapp.web.api import envelope
from webapp.web.api.openai import chat, completions, errors, models, responses
from webapp.web.choices import Choices
from webapp.web.embeddings import Embeddings
from webapp.web.errors import RequestError
from webapp.web.gate import Gate
from webapp.web.generations import Generations

ErrorResponse = Callable[[RequestError], Response]


def blueprints(catalog: Catalog, generations: Generations, *, embeddings: Embeddings, gate: Gate) -> list[Blueprint]:
    """The routes at each of the two addresses."""
    choices = Choices(generations, gate)
    own = _blueprint("openai", "/v1", errors.error_response, gate)
    on_account = _blueprint("openai_on_account", "/client/v4/accounts/<account>/ai/v1", envelope.error_response, gate)
    on_account.after_request(envelope.name_request)
    for routes in (own, on_account):
        chat.add_routes(routes, catalog, choices=choices)
        completions.add_routes(routes, catalog, choices=choices)
        models.add_routes(routes, catalog, embeddings=embeddings, gate=gate)
        responses.add_routes(routes, catalog, generations=generations, gate=gate)
    return [own, on_account]


def _blueprint(name: str, prefix: str, error_response: ErrorResponse, gate: Gate) -> Blueprint:
    routes = Blueprint(name, __name__, url_prefix=prefix)

    @routes.before_request
    def begin() -> None:
        gate.admit(request)

    @routes.after_request
    def name_request(response: Response) -> Response:
        response.headers["x-request-id"] = envelope.request_id()
        return response

    @routes.errorhandler(RequestError)
    def refuse(error: RequestError) -> Response:
        return errors.tell_retries(error_response(error), error)

    return routes
