"""The page `/api`: every route, event, header, error and limit, and code to take home. Knows no route's behaviour.

All of it is read from what the server runs by: the document at /openapi.json, the tables of errors, the settings, the
catalogue. So nothing here can say what is no longer so.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from flask import Blueprint, render_template, request

from webapp.catalog import Catalog, CatalogEntry, ModelNotInstalled, ModelUnavailable
from webapp.settings import Settings
from webapp.web import errors
from webapp.web.api import envelope
from webapp.web.api.openai import errors as openai_errors
from webapp.web.api_reference import routes_by_tag
from webapp.web.limits import LINKS_A_MINUTE, TOKEN_COUNTS_A_MINUTE, WRONG_TOKENS_A_MINUTE
from webapp.web.model_choices import default_model
from webapp.web.openapi.parts import HEADERS
from webapp.web.openapi.schemas import Schema
from webapp.web.snippets import write_snippets
from webapp.web.sse import KEEP_ALIVE_SECONDS
from webapp.web.worker_endpoint import PUBLISHED_PROMPT

# A line of the tree that errors.py draws: its name, its status, and what it means where the name does not say it.
_ERROR_LINE = re.compile(r"── (\w+) +[0-9]{3} *(.*)")


@dataclass(frozen=True)
class ErrorRow:
    """One error, as each API answers it. `site_status` is that of pages and of /worker-endpoint."""

    name: str
    meaning: str
    workers_ai: str
    openai: str
    site_status: int


@dataclass(frozen=True)
class ModelRow:
    """A model, and what answers for it; `serving` is None where nothing does."""

    entry: CatalogEntry
    serving: str | None


def blueprint(document: Schema, catalog: Catalog, settings: Settings, *, largest_body_bytes: int) -> Blueprint:
    """The route of the page, for the document that is served at /openapi.json."""
    routes = Blueprint("api_page", __name__)
    text_models = [entry.name for entry in catalog.entries if entry.task == "text-generation"]
    shown = {
        "groups": routes_by_tag(document),
        "errors": list(_error_rows()),
        "headers": HEADERS,
        "limits": _limits(settings, largest_body_bytes),
        "models": [ModelRow(entry, _serving(catalog, entry)) for entry in catalog.entries],
        "text_models": text_models,
    }

    @routes.get("/api")
    def show() -> str:
        asked = request.args.get("model")
        model = asked if asked in text_models else default_model(catalog)
        body = {"prompt": PUBLISHED_PROMPT, "stream": True}
        snippets = write_snippets(model, body, base_url=request.host_url)
        return render_template("api.html", **shown, model=model, snippets=snippets, base_url=request.host_url)

    return routes


def _error_rows() -> Iterator[ErrorRow]:
    meanings = dict(_ERROR_LINE.findall(errors.__doc__ or ""))
    for kind in errors.RequestError.__subclasses__():
        if kind is errors.PageError:
            continue
        status, number, _ = (envelope.GATE_ERRORS | envelope.ERRORS).get(kind, envelope.INTERNAL)
        openai_status, openai_type, openai_code = openai_errors.ERRORS[kind]
        yield ErrorRow(
            name=kind.__name__,
            meaning=meanings.get(kind.__name__, ""),
            workers_ai=f"{status} · {number}",
            openai=f"{openai_status} · {openai_code or openai_type}",
            site_status=kind.status,
        )


def _limits(settings: Settings, largest_body_bytes: int) -> dict[str, str]:
    """Every limit as it is set here, and where it is set."""
    a_minute = f"{settings.rate_limit} a minute" if settings.rate_limit else "any number"
    return {
        "A request's body": f"{largest_body_bytes // 1024} KiB, within {settings.body_seconds:g} seconds",
        "Generations of one API token, or of one address without": f"{a_minute} (JETON_RATE_LIMIT)",
        "Generations of one client at once": f"{settings.client_limit} (JETON_CLIENT_LIMIT)",
        "Generations that wait for one model": f"{settings.queue_length} (JETON_QUEUE_LENGTH)",
        "Waiting for an engine": f"{settings.queue_seconds:g} seconds (JETON_QUEUE_SECONDS)",
        "Running": f"{settings.generation_seconds:g} seconds (JETON_GENERATION_SECONDS)",
        "A page's generation without a reader": f"{settings.grace_seconds:g} seconds (JETON_GRACE_SECONDS)",
        "Wrong API tokens from one address": f"{WRONG_TOKENS_A_MINUTE} a minute",
        "Shared links made from one address": f"{LINKS_A_MINUTE} a minute",
        "Counts of a prompt's tokens for one address": f"{TOKEN_COUNTS_A_MINUTE} a minute",
        "Silence of a stream, before a comment says it lives": f"{KEEP_ALIVE_SECONDS:g} seconds",
    }


def _serving(catalog: Catalog, entry: CatalogEntry) -> str | None:
    try:
        return catalog.serving(entry).name
    except (ModelNotInstalled, ModelUnavailable):
        return None
