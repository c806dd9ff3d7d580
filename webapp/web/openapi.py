"""`/openapi.json`: every route, as OpenAPI 3.1 has it."""

from collections import defaultdict
from collections.abc import Iterable

from flask import Blueprint, Response

from webapp.catalog import Catalog
from webapp.web import errors
from webapp.web.api import envelope
from webapp.web.openapi_schemas import TEXT, Schema, components, reference
from webapp.web.replies import json_reply

# What a client may say it has read, as sse.read_last_event_id takes it.
_EVENT_ID: Schema = {"type": "string", "pattern": "^[0-9]{0,12}$"}
_PAGE: Schema = {"text/html": {"schema": TEXT}}
_SENTENCE: Schema = {"text/plain": {"schema": TEXT}}
# A refusal of ours is a sentence; one of Flask's own, as for a path that is none, is a page.
_SENTENCE_OR_PAGE: Schema = _SENTENCE | _PAGE

# Status, what it means, the content by type.
Answers = dict[int, tuple[str, Schema]]


def blueprint(catalog: Catalog) -> Blueprint:
    """The route of the document itself."""
    routes = Blueprint("openapi", __name__)
    served = document(catalog)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return json_reply(served)

    return routes


def document(catalog: Catalog) -> Schema:
    """The whole document, for the models of this catalogue."""
    models = [entry.name for entry in catalog.entries]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Jeton", "version": "1", "description": "Streams answers of language models."},
        "paths": _api_paths(models) | _playground_paths() | _operators_paths(),
        "components": {
            "schemas": components(models, most_tokens=max(entry.sequence_length for entry in catalog.entries)),
            "securitySchemes": {
                "apiToken": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "jeton_session"},
                "csrfToken": {"type": "apiKey", "in": "header", "name": "X-CSRFToken"},
            },
        },
    }


def _api_paths(models: list[str]) -> Schema:
    by_status = defaultdict(list[str])
    for kind, (status, number, _) in (envelope.ERRORS | envelope.GATE_ERRORS).items():
        by_status[status].append(f"{kind.__name__} ({number})")
    by_status[envelope.INTERNAL[0]].append(f"GenerationFailed ({envelope.INTERNAL[1]})")
    by_status[404].append("no such route (7000)")
    refusals = {status: (", ".join(names), _json("RunRefusal")) for status, names in by_status.items()}
    run = _operation(
        "run",
        "Generate text, as Workers AI does; with `stream`, as server-sent events.",
        {200: ("The answer.", _json("RunAnswer") | _stream("ApiEvent"))} | refusals,
        security=[{"apiToken": []}],
        requestBody={"required": True, "content": _json("RunBody")},
    )
    parameters = [_parameter("account", TEXT, place="path"), _parameter("model", {"enum": models}, place="path")]
    return {"/client/v4/accounts/{account}/ai/run/{model}": {"parameters": parameters, "post": run}}


def _playground_paths() -> Schema:
    session, signed = [{"session": []}], [{"session": [], "csrfToken": []}]
    own = [_parameter("generation_id", TEXT, place="path")]
    away: Answers = {404: ("GenerationNotFound", _SENTENCE_OR_PAGE), 503: ("PoolUnavailable", _SENTENCE)}
    submit = _operation(
        "submit",
        "Start a generation. With `HX-Request` its turn comes back, without it a page with the whole answer.",
        {200: ("A page with the answer.", _PAGE), 201: ("The new turn.", _PAGE)}
        | {status: (names, _PAGE) for status, names in _by_status(errors.RequestError.__subclasses__()).items()},
        security=signed,
        parameters=[_parameter("HX-Request", TEXT, place="header")],
        requestBody={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": reference("Form")}}},
    )
    events = _operation(
        "events",
        "Read a generation of this session, after the event that was read last.",
        {
            200: ("Its events.", _stream("PlaygroundEvent")),
            204: ("Its end was already seen.", {}),
            400: ("InvalidFields", _SENTENCE_OR_PAGE),
        }
        | away,
        security=session,
        parameters=[
            _parameter("Last-Event-ID", _EVENT_ID, place="header"),
            _parameter("after", _EVENT_ID, place="query"),
        ],
    )
    abort = _operation(
        "abort",
        "Stop a generation of this session.",
        {204: ("It has ended.", {}), 400: ("CsrfTokenInvalid", _PAGE)} | away,
        security=signed,
    )
    options = _operation(
        "modelOptions",
        "The model picker's options.",
        {200: ("A fragment.", _PAGE)},
        parameters=[_parameter("selected", TEXT, place="query")],
    )
    return {
        "/": {"get": _operation("playground", "The playground.", {200: ("The page.", _PAGE)})},
        "/models/options": {"get": options},
        "/generations": {"post": submit},
        "/generations/{generation_id}/events": {"parameters": own, "get": events},
        "/generations/{generation_id}/abort": {"parameters": own, "post": abort},
    }


def _operators_paths() -> Schema:
    trusted = [{}, {"apiToken": []}]
    readiness: Answers = {200: ("Yes.", _json("Readiness")), 503: ("No, and why.", _json("Readiness"))}
    pool: Answers = {200: ("At this moment.", _json("PoolReport")), 503: ("PoolUnavailable", _json("PoolProblem"))}
    metrics: Answers = {
        200: ("For Prometheus.", _SENTENCE),
        401: ("From elsewhere, without a token.", _SENTENCE),
        403: ("From elsewhere, with a token that is not the operator's.", _SENTENCE),
        503: ("PoolUnavailable", _SENTENCE),
    }
    itself: Answers = {200: ("OpenAPI 3.1.", {"application/json": {"schema": {"type": "object"}}})}
    return {
        "/healthz": {
            "get": _operation("healthz", "Whether this web process answers.", {200: ("Yes.", _json("Health"))})
        },
        "/readyz": {"get": _operation("readyz", "Whether tokens come.", readiness, security=trusted)},
        "/pool.json": {"get": _operation("pool", "Every process.", pool, security=trusted)},
        "/metrics": {"get": _operation("metrics", "What the pool has counted.", metrics, security=trusted)},
        "/openapi.json": {"get": _operation("openapi", "This document.", itself)},
    }


# --- parts -----------------------------------------------------------------------------------------


def _operation(name: str, summary: str, answers: Answers, **more: object) -> Schema:
    responses = {
        str(status): {"description": description} | ({"content": content} if content else {})
        for status, (description, content) in sorted(answers.items())
    }
    return {"operationId": name, "summary": summary, "responses": responses} | more


def _parameter(name: str, schema: Schema, *, place: str) -> Schema:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _json(name: str) -> Schema:
    return {"application/json": {"schema": reference(name)}}


def _stream(name: str) -> Schema:
    return {"text/event-stream": {"schema": reference(name)}}


def _by_status(kinds: Iterable[type[errors.RequestError]]) -> dict[int, str]:
    by_status = defaultdict(list[str])
    for kind in kinds:
        by_status[kind.status].append(kind.__name__)
    return {status: ", ".join(names) for status, names in by_status.items()}
