"""This site's own routes in `/openapi.json`: the playground's, the page's, the operators'."""

from webapp.web import errors
from webapp.web.languages import LANGUAGES
from webapp.web.openapi.parts import (
    PAGE,
    SENTENCE,
    SENTENCE_OR_PAGE,
    Answers,
    json_of,
    operation,
    or_empty,
    parameter,
    site_refusals,
    stream_of,
)
from webapp.web.openapi.schemas import TEXT, Schema, reference
from webapp.web.playground_forms import PARAMETERS as SETUP_PARAMETERS
from webapp.web.worker_endpoint import PARAMETERS, PUBLISHED_MODEL, PUBLISHED_PROMPT

PAGE_ROUTE = "The published page's route"
PLAYGROUND = "The playground"
OPERATORS = "For operators"
# What a client may say it has read, as sse.read_last_event_id takes it.
_EVENT_ID: Schema = {"type": "string", "pattern": "^[0-9]{0,12}$"}
_ENDPOINT_EVENT_ID: Schema = {"type": "string", "pattern": "^([0-9a-f]{32}:[0-9]{1,12})?$"}


def paths(fields: Schema, *, most_tokens: int) -> Schema:
    """The paths and their operations. `fields` are the properties of a generation's body."""
    limited = fields | {"max_tokens": {"type": "integer", "minimum": 1, "maximum": most_tokens}}
    return _endpoint_paths(limited) | _playground_paths(fields) | _operators_paths()


def _endpoint_paths(fields: Schema) -> Schema:
    texts = (
        parameter("prompt", TEXT, place="query", description=f"Without one: {PUBLISHED_PROMPT}"),
        parameter("system", TEXT, place="query", description="What the model is told before it."),
        parameter(
            "model",
            {"anyOf": [reference("Model"), {"const": ""}]},
            place="query",
            description=f"Without one: {PUBLISHED_MODEL}",
        ),
    )
    parameters = (parameter(name, or_empty(fields[name]), place="query") for name in PARAMETERS)
    resumed = parameter("Last-Event-ID", _ENDPOINT_EVENT_ID, place="header", description="Go on after this event.")
    answer = operation(
        "workerEndpoint",
        "Answer a prompt as server-sent events, for `new EventSource`; go on with the answer after `Last-Event-ID`.",
        {
            200: ("Its events.", stream_of("EndpointEvent")),
            204: ("Its end was already seen.", {}),
            414: ("The address is over 4,094 bytes.", PAGE),
            403: (
                "Forbidden: a page of another site asks, or a browser that only looks ahead.",
                json_of("SiteProblem"),
            ),
        }
        | site_refusals(errors.RequestError.__subclasses__(), json_of("SiteProblem")),
        tag=PAGE_ROUTE,
        headers=("x-jeton-served-by", "Retry-After"),
        security=[{}, {"session": []}],
        parameters=[*texts, *parameters, resumed],
    )
    answer["responses"]["403"]["description"] = "Forbidden: a page of another site asks, or a browser that looks ahead."
    return {"/worker-endpoint": {"get": answer}}


def _playground_paths(fields: Schema) -> Schema:
    session, signed = [{"session": []}], [{"session": [], "csrfToken": []}]
    own = [parameter("generation_id", TEXT, place="path")]
    away: Answers = {404: ("GenerationNotFound", SENTENCE_OR_PAGE), 503: ("PoolUnavailable", SENTENCE)}
    submit = operation(
        "submit",
        "Start a generation. With `HX-Request` its turn comes back, without it a page with the whole answer.",
        {200: ("A page with the answer.", PAGE), 201: ("The new turn.", PAGE)}
        | site_refusals(errors.RequestError.__subclasses__(), PAGE),
        tag=PLAYGROUND,
        security=signed,
        parameters=[parameter("HX-Request", TEXT, place="header")],
        requestBody={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": reference("Form")}}},
    )
    events = operation(
        "events",
        "Read a generation of this session, after the event that was read last.",
        {
            200: ("Its events.", stream_of("PlaygroundEvent")),
            204: ("Its end was already seen.", {}),
            400: ("InvalidFields", SENTENCE_OR_PAGE),
        }
        | away,
        tag=PLAYGROUND,
        security=session,
        parameters=[
            parameter("Last-Event-ID", _EVENT_ID, place="header"),
            parameter("after", _EVENT_ID, place="query"),
        ],
    )
    abort = operation(
        "abort",
        "Stop a generation of this session.",
        {204: ("It has ended.", {}), 400: ("CsrfTokenInvalid", PAGE)} | away,
        tag=PLAYGROUND,
        security=signed,
    )
    options = operation(
        "modelOptions",
        "The model picker's options.",
        {200: ("A fragment.", PAGE)},
        tag=PLAYGROUND,
        parameters=[parameter("selected", TEXT, place="query")],
    )
    counted = operation(
        "countTokens",
        "Count the tokens of a prompt with all that goes before it, by its model's own tokenizer. Starts nothing.",
        # A form without its CSRF token, or too long, is refused with a page.
        {200: ("So many.", json_of("TokenCountReport"))}
        | site_refusals(errors.RequestError.__subclasses__(), json_of("SiteProblem") | PAGE),
        tag=PLAYGROUND,
        headers=("Retry-After",),
        security=signed,
        requestBody={
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": reference("CountForm")}},
        },
    )
    setup = operation(
        "playground",
        "The playground, its form filled as the query says. A link's prompt and system prompt stand in its fragment.",
        {
            200: ("The page; parameters that cannot be used are named on it and left out.", PAGE),
            404: ("LinkNotFound: the page, without what the shared link was to fill in.", PAGE),
            410: ("LinkGone: the same.", PAGE),
            503: ("StorageBusy: the same.", PAGE),
        },
        tag=PLAYGROUND,
        parameters=[
            parameter("fork", TEXT, place="query", description="A shared link's slug: asks the same again."),
            parameter("model", TEXT, place="query"),
            # Whatever they are, the page comes.
            *(parameter(name, TEXT, place="query") for name in SETUP_PARAMETERS),
        ],
    )
    language = operation(
        "chooseLanguage",
        "The switch of the pages' languages: keeps the choice in a cookie.",
        {303: ("Back to the page of this site that `back` names.", PAGE)}
        | site_refusals((errors.InvalidFields,), PAGE),
        tag=PLAYGROUND,
        security=signed,
        requestBody={
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "properties": {"language": {"enum": [*LANGUAGES]}, "back": TEXT},
                        "required": ["language"],
                    }
                }
            },
        },
    )
    shown: Answers = {200: ("The page.", PAGE)}
    return {
        "/": {"get": setup},
        "/api": {"get": operation("api", "This document as a page, with code to take home.", shown, tag=PLAYGROUND)},
        "/language": {"post": language},
        "/models/options": {"get": options},
        "/generations": {"post": submit},
        "/tokens": {"post": counted},
        "/generations/{generation_id}/events": {"parameters": own, "get": events},
        "/generations/{generation_id}/abort": {"parameters": own, "post": abort},
    }


def _operators_paths() -> Schema:
    trusted = [{}, {"apiToken": []}]
    readiness: Answers = {200: ("Yes.", json_of("Readiness")), 503: ("No, and why.", json_of("Readiness"))}
    pool: Answers = {200: ("At this moment.", json_of("PoolReport")), 503: ("PoolUnavailable", json_of("PoolProblem"))}
    metrics: Answers = {
        200: ("For Prometheus.", SENTENCE),
        401: ("From elsewhere, without a token.", SENTENCE),
        403: ("From elsewhere, with a token that is not the operator's.", SENTENCE),
        503: ("PoolUnavailable", SENTENCE),
    }
    itself: Answers = {200: ("OpenAPI 3.1.", {"application/json": {"schema": {"type": "object"}}})}

    def reads(name: str, summary: str, answers: Answers, *, is_trusting: bool = False) -> Schema:
        security = {"security": trusted} if is_trusting else {}
        return {"get": operation(name, summary, answers, tag=OPERATORS) | security}

    return {
        "/healthz": reads("healthz", "Whether this web process answers.", {200: ("Yes.", json_of("Health"))}),
        "/readyz": reads("readyz", "Whether tokens come.", readiness, is_trusting=True),
        "/pool.json": reads("pool", "Every process.", pool, is_trusting=True),
        "/metrics": reads("metrics", "What the pool has counted.", metrics, is_trusting=True),
        "/openapi.json": reads("openapi", "This document.", itself),
    }
