"""The page of a shared link in `/openapi.json`: its replay, its record, and the same run again."""

from webapp.web import errors
from webapp.web.links.pages import SPEEDS
from webapp.web.openapi.links import SHARED_LINKS
from webapp.web.openapi.parts import PAGE, Answers, json_of, operation, parameter, site_refusals, stream_of
from webapp.web.openapi.schemas import TEXT, Schema

# What a client may say it has read, as sse.read_last_event_id takes it.
_EVENT_ID: Schema = {"type": "string", "pattern": "^[0-9]{0,12}$"}
_FOUND = (errors.LinkNotFound, errors.LinkGone, errors.StorageBusy, errors.StorageFull)


def paths() -> Schema:
    """The paths and their operations."""
    slug = parameter("slug", TEXT, place="path")
    own = [slug, parameter("generation_id", TEXT, place="path")]
    return {
        "/s/{slug}": {"parameters": [slug], "get": _show()},
        "/s/{slug}/events": {"parameters": [slug], "get": _events()},
        "/s/{slug}/run.json": {"parameters": [slug], "get": _record()},
        "/s/{slug}/run": {"parameters": [slug], "post": _run_again()},
        "/s/{slug}/run/{generation_id}": {"parameters": own, "get": _comparison()},
    }


def _show() -> Schema:
    shown: Answers = {200: ("The page.", PAGE)}
    return operation(
        "sharedLink", "All of a shared run, as a page.", shown | site_refusals(_FOUND, PAGE), tag=SHARED_LINKS
    )


def _events() -> Schema:
    answers: Answers = {200: ("Its events.", stream_of("PlaygroundEvent")), 204: ("Its end was already seen.", {})}
    refusals = (*_FOUND, errors.InvalidFields, errors.ReplayLimitReached)
    return operation(
        "replay",
        "A shared run's events once more, at the pace they had, after the event that was read last.",
        # A slug that no path takes is refused with a page.
        answers | site_refusals(refusals, json_of("SiteProblem") | PAGE),
        tag=SHARED_LINKS,
        headers=("Retry-After",),
        parameters=[
            parameter("speed", {"enum": [*SPEEDS]}, place="query", description="So many times as fast."),
            parameter("Last-Event-ID", _EVENT_ID, place="header"),
            parameter("after", _EVENT_ID, place="query"),
        ],
    )


def _record() -> Schema:
    return operation(
        "sharedRun",
        "All of a shared run: messages, parameters, each text with its milliseconds, counts and durations.",
        {200: ("The run.", json_of("SharedRunReport"))} | site_refusals(_FOUND, json_of("SiteProblem") | PAGE),
        tag=SHARED_LINKS,
    )


def _run_again() -> Schema:
    return operation(
        "runAgain",
        "Start a shared run's request once more, seed included, as a generation of this session. "
        "With `HX-Request` its turn comes back, without it the page with the whole answer and the comparison.",
        {200: ("The page with both.", PAGE), 201: ("The new turn.", PAGE)}
        | site_refusals([*errors.RequestError.__subclasses__(), *_FOUND], PAGE),
        tag=SHARED_LINKS,
        headers=("Retry-After",),
        security=[{"session": [], "csrfToken": []}],
        parameters=[parameter("HX-Request", TEXT, place="header")],
    )


def _comparison() -> Schema:
    refusals = (*_FOUND, errors.GenerationNotFound, errors.GenerationFailed, errors.InvalidFields)
    return operation(
        "comparison",
        "A shared answer beside that of a generation of this session with the same request, once it has ended.",
        {200: ("A fragment.", PAGE)} | site_refusals([*refusals, errors.PoolUnavailable], PAGE),
        tag=SHARED_LINKS,
        security=[{"session": []}],
    )
