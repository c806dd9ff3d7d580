"""`/openapi.json`: every route, as OpenAPI 3.1 has it."""

from flask import Blueprint, Response

from webapp.catalog import Catalog
from webapp.web.openapi import cloudflare, dialogs, links, openai, shared_runs, site
from webapp.web.openapi.parts import HEADERS
from webapp.web.openapi.schemas import TEXT, Schema, components, most_tokens
from webapp.web.replies import json_reply


def blueprint(served: Schema) -> Blueprint:
    """The route of the document itself."""
    routes = Blueprint("openapi", __name__)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return json_reply(served)

    return routes


def document(catalog: Catalog) -> Schema:
    """The whole document, for the models of this catalogue."""
    schemas = components(catalog)
    fields = schemas["GenerationFields"]["properties"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Jeton", "version": "1", "description": "Streams answers of language models."},
        "paths": cloudflare.paths()
        | openai.paths()
        | site.paths(fields, most_tokens=most_tokens(catalog))
        | links.paths()
        | shared_runs.paths()
        | dialogs.paths(),
        "components": {
            "schemas": schemas,
            "headers": {name: {"description": text, "schema": TEXT} for name, text in HEADERS.items()},
            "securitySchemes": {
                "apiToken": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "jeton_session"},
                "csrfToken": {"type": "apiKey", "in": "header", "name": "X-CSRFToken"},
            },
        },
    }
