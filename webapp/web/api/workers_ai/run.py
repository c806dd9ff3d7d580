"""The Workers AI dialect: `POST /client/v4/accounts/<account>/ai/run/<model>`, in Cloudflare's envelope.

Source: Cloudflare's documentation of Workers AI (REST API, errors, model schemas), as of 2023 to 2026.
"""

from flask import Blueprint, Response, request

from webapp.web import errors
from webapp.web.api.envelope import envelope, error_response, name_request
from webapp.web.api.workers_ai.runs import Runs
from webapp.web.gate import Gate
from webapp.web.json_body import read_json_body
from webapp.web.replies import json_reply


def blueprint(runs: Runs, gate: Gate) -> Blueprint:
    """The routes of this dialect."""
    routes = Blueprint("workers_ai", __name__, url_prefix="/client/v4/accounts/<account>/ai")

    @routes.before_request
    def begin() -> None:
        gate.admit(request)

    @routes.post("/run/<path:model>")
    def run(account: str, model: str) -> Response:
        return runs.run(read_json_body(), model, lambda result: json_reply(envelope(result)))

    routes.after_request(name_request)
    routes.register_error_handler(errors.RequestError, error_response)
    return routes
