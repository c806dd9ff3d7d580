"""The web process's assembly: settings, catalogue, pool client and database become one Flask app."""

import logging
import os
import secrets
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask, Response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from webapp.machine import read_catalog_here
from webapp.settings import PROJECT_FOLDER, Settings, make_folders, read_settings
from webapp.web import (
    api_page,
    cli,
    code_page,
    language_switch,
    languages,
    metrics,
    playground,
    status,
    token_counts,
    wire_drawer,
    worker_endpoint,
)
from webapp.web.api import envelope
from webapp.web.api.openai import errors as openai_errors
from webapp.web.api.openai import routes as openai_routes
from webapp.web.api.workers_ai import binding, model_search
from webapp.web.api.workers_ai import run as workers_ai
from webapp.web.api.workers_ai.model_search import ModelSearch
from webapp.web.api.workers_ai.runs import Runs
from webapp.web.auth import ApiTokens
from webapp.web.bodies import discard_refused_body, with_readable_bodies
from webapp.web.callers import behind_proxies
from webapp.web.compression import compress
from webapp.web.csrf import CsrfProtection
from webapp.web.database import Database
from webapp.web.embeddings import Embeddings
from webapp.web.errors import RequestError
from webapp.web.gate import Gate
from webapp.web.generations import Generations
from webapp.web.headers import add_headers
from webapp.web.hosts import BINDING_PATHS, is_local_name, refuse_bad_host, with_checked_host
from webapp.web.limits import RateLimits
from webapp.web.links import embed, manage, pages, preview, sharing
from webapp.web.links.replay import Replays
from webapp.web.links.store import SharedLinks
from webapp.web.logs import leave_requests_out
from webapp.web.openapi import document as openapi_document
from webapp.web.pool_client import PoolClient
from webapp.web.replies import with_retry_after
from webapp.web.script_modules import modules_of
from webapp.web.sessions import SessionInterface

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# The longest prompts the catalogue allows are a few ten thousand characters; this leaves room for escapes.
LARGEST_BODY_BYTES = 512 * 1024

# Where gunicorn's configuration finds the pool client and the replays, to drain them.
POOL_EXTENSION = "jeton_pool"
REPLAYS_EXTENSION = "jeton_replays"
# And the shared links, to purge them.
LINKS_EXTENSION = "jeton_links"


def create_app(settings: Settings | None = None) -> Flask:
    """The app for these settings, or for those of the environment. Opens no socket and no database yet."""
    settings = settings or read_settings()
    make_folders(settings)
    app = Flask(
        "webapp", template_folder=str(PROJECT_FOLDER / "templates"), static_folder=str(PROJECT_FOLDER / "static")
    )
    leave_requests_out(app.logger, logging.getLogger("gunicorn.error"))
    app.session_interface = SessionInterface()
    languages.speak(app)
    app.config.update(
        SECRET_KEY=_secret_key(settings.data_dir / "secret-key"),
        MAX_CONTENT_LENGTH=LARGEST_BODY_BYTES,
        # Werkzeug's own limit for one field of a form, which is smaller.
        MAX_FORM_MEMORY_SIZE=LARGEST_BODY_BYTES,
        SESSION_COOKIE_NAME="jeton_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        # A page left open over night still works.
        WTF_CSRF_TIME_LIMIT=None,
        # See CsrfProtection.
        WTF_CSRF_SSL_STRICT=False,
    )
    catalog = read_catalog_here(settings, os.environ)
    database = Database(settings.database_url)
    tokens = ApiTokens(database, known_token=settings.api_token, operator_token=settings.operator_token)
    pool = PoolClient(settings.web_address)
    app.extensions[POOL_EXTENSION] = pool
    generations = Generations(catalog, pool)
    limits = RateLimits(generations_a_minute=settings.rate_limit, web_processes=settings.web_processes)

    csrf = CsrfProtection(app)
    gate = Gate(tokens, limits)
    embeddings = Embeddings(catalog, pool)
    runs = Runs(catalog, generations, embeddings, gate)
    models = ModelSearch(catalog)
    for routes in (
        workers_ai.blueprint(runs, gate),
        binding.blueprint(runs, models, gate),
        model_search.blueprint(models, gate),
        *openai_routes.blueprints(catalog, generations, embeddings=embeddings, gate=gate),
    ):
        # A bearer token is never sent by a browser on its own.
        csrf.exempt(routes)
        app.register_blueprint(routes)
    app.register_blueprint(language_switch.blueprint())
    app.register_blueprint(status.blueprint(pool, tokens, catalog))
    app.register_blueprint(metrics.blueprint(pool, tokens))
    document = openapi_document.document(catalog)
    app.register_blueprint(openapi_document.blueprint(document))
    app.register_blueprint(api_page.blueprint(document, catalog, settings, largest_body_bytes=LARGEST_BODY_BYTES))
    links = SharedLinks(
        database,
        most_of_one=settings.links_of_one,
        most=settings.links_total,
        is_for_ever_allowed=settings.is_link_for_ever_allowed,
    )
    app.extensions[LINKS_EXTENSION] = links
    replays = app.extensions[REPLAYS_EXTENSION] = Replays()
    app.register_blueprint(
        playground.blueprint(
            catalog, pool, generations, links=links, limits=limits, grace_seconds=settings.grace_seconds
        )
    )
    app.register_blueprint(token_counts.blueprint(catalog, pool, limits=limits))
    app.register_blueprint(code_page.blueprint(catalog))
    app.register_blueprint(wire_drawer.blueprint(pool))
    # Without it no link is made; those there are stay, until they expire.
    app.jinja_env.globals["is_sharing_allowed"] = settings.is_sharing_allowed
    if settings.is_sharing_allowed:
        app.register_blueprint(sharing.blueprint(catalog, pool, links, limits=limits))
    app.register_blueprint(
        pages.blueprint(
            catalog,
            pool,
            generations,
            links=links,
            replays=replays,
            limits=limits,
            grace_seconds=settings.grace_seconds,
        )
    )
    app.register_blueprint(embed.blueprint(links, ancestors=settings.embed_ancestors))
    app.register_blueprint(preview.blueprint(links))
    app.register_blueprint(manage.blueprint(links, limits=limits))
    app.register_blueprint(
        worker_endpoint.blueprint(pool, generations, limits=limits, grace_seconds=settings.grace_seconds)
    )
    app.register_error_handler(RequestError, _request_error)
    app.register_error_handler(HTTPException, _http_error)
    app.before_request(refuse_bad_host)
    app.after_request(add_headers)
    app.after_request(discard_refused_body)
    compress(app)
    # As they are at the start: a file that changes later is only asked for one step later.
    app.jinja_env.globals["modules_of"] = cache(partial(modules_of, PROJECT_FOLDER / "static"))
    # Flask's own way of adding layers; its type says method.
    app.wsgi_app = _layers(app.wsgi_app, settings)  # pyright: ignore[reportAttributeAccessIssue]
    database_lock = settings.data_dir / "database.lock"
    cli.add_commands(app, database=database, database_lock=database_lock, tokens=tokens, links=links)
    return app


def _layers(app: "WSGIApplication", settings: Settings) -> "WSGIApplication":
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    is_local_only = settings.proxies == 0 and is_local_name(host)
    app = with_checked_host(app, is_local_only=is_local_only)
    return behind_proxies(with_readable_bodies(app, settings.body_seconds), settings.proxies)


def _request_error(error: RequestError) -> Response:
    response = Response(error.message, status=error.status, content_type="text/plain; charset=utf-8")
    return with_retry_after(response, error)


def _http_error(error: HTTPException) -> Response:
    """A path, method or form that no route takes, in the shape of where it came from."""
    response = _http_error_page(error)
    if isinstance(error, MethodNotAllowed):
        response.allow.update(error.valid_methods or ())
    return response


def _http_error_page(error: HTTPException) -> Response:
    if request.path.startswith("/client/v4/") or request.path in BINDING_PATHS:
        return envelope.route_error_response(error)
    if request.path.startswith("/v1/"):
        return openai_errors.route_error_response(error, method=request.method, path=request.path)
    code = "CsrfTokenInvalid" if isinstance(error, CSRFError) else (error.name.title().replace(" ", ""))
    message = languages.say_error(code, error.description or error.name)
    described = {"code": code, "message": message, "field": None, "retry_after": None}
    if "HX-Request" in request.headers:
        return Response(render_template("_error.html", error=described), status=error.code)
    return Response(render_template("error.html", error=described, status=error.code), status=error.code)


def _secret_key(path: Path) -> bytes:
    """The key that signs cookies, made at the first start; several web processes may start at once."""
    if not path.exists():
        own = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        # A link is made whole or not at all, and fails where another process was first.
        with suppress(FileExistsError):
            os.link(own, path)
        own.unlink()
    return path.read_bytes()
