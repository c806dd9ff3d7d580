"""How many tokens a prompt has, for the composer. Knows forms, nothing of tokenizers."""

from flask import Blueprint, Response, request

from webapp.catalog import Catalog
from webapp.web.errors import RequestError
from webapp.web.limits import RateLimits
from webapp.web.playground_forms import read_history, read_messages
from webapp.web.pool_client import PoolClient
from webapp.web.replies import json_reply, with_retry_after
from webapp.web.request_fields import find_model, to_request


def blueprint(catalog: Catalog, pool: PoolClient, *, limits: RateLimits) -> Blueprint:
    """The route."""
    routes = Blueprint("token_counts", __name__)

    @routes.post("/tokens")
    def count() -> Response:
        """The composer's messages, counted by their model's own tokenizer; None where it is not loaded.

        The answer takes none of the context window: what a model may write has room of its own, its sequence length.
        """
        try:
            limits.count_token_count(request)
            fields = read_messages(request.form, read_history(request.form))
            entry, serving = find_model(catalog, request.form.get("model", ""))
            tokens = pool.count_tokens(to_request(fields, entry, serving))
        except RequestError as error:
            problem = {"error": {"code": error.code, "message": error.message}}
            return with_retry_after(json_reply(problem, error.status), error)
        return json_reply({"model": entry.name, "prompt_tokens": tokens, "context_window": entry.context_window})

    return routes
