"""The routes of shared links in `/openapi.json`: in a frame, as a picture, and what their makers and readers do."""

from functools import partial

from webapp.web import errors
from webapp.web.links.store import LIFETIMES_DAYS, LONGEST_DETAILS, REPORT_REASONS
from webapp.web.openapi.parts import PAGE, SENTENCE_OR_PAGE, Answers, operation, parameter, site_refusals
from webapp.web.openapi.schemas import TEXT, Schema

SHARED_LINKS = "Shared links"
_FOUND = (errors.LinkNotFound, errors.LinkGone, errors.StorageBusy, errors.StorageFull)
_CHANGED = (*_FOUND, errors.InvalidFields, errors.LinkForbidden, errors.RateLimitReached)
_SIGNED = [{"session": [], "csrfToken": []}]
_FRAGMENT = parameter("HX-Request", TEXT, place="header")
_operation = partial(operation, tag=SHARED_LINKS)
# A form of this site, with its session and token.
_change = partial(_operation, security=_SIGNED)


def paths() -> Schema:
    """The paths and their operations."""
    slug = [parameter("slug", TEXT, place="path")]
    return {
        "/e/{slug}": {"parameters": slug, "get": _embed()},
        "/s/{slug}/og.png": {"parameters": slug, "get": _preview()},
        "/s/{slug}/revoke": {"parameters": slug, "post": _revoke()},
        "/s/{slug}/extend": {"parameters": slug, "post": _extend()},
        "/s/{slug}/report": {"parameters": slug, "post": _report()},
        "/links": {"get": _own_links()},
        "/links/key": {"post": _take_over()},
        "/links/forget": {"post": _forget()},
    }


def _embed() -> Schema:
    return _operation(
        "embed",
        "A shared link for a frame on another site. Sets no cookie; who may frame it is a setting.",
        {200: ("The page.", PAGE)} | site_refusals(_FOUND, PAGE),
        parameters=[parameter("theme", TEXT, place="query", description="`light` or `dark`; else the reader's own.")],
    )


def _preview() -> Schema:
    return _operation(
        "preview",
        "Its picture, 1200 by 630, for those who unfold links.",
        {200: ("The picture.", {"image/png": {}})} | site_refusals(_FOUND, SENTENCE_OR_PAGE),
    )


def _revoke() -> Schema:
    return _change(
        "revoke",
        "Revoke a shared link that this browser has made: its text is deleted.",
        _changed(200, "Its row, with `HX-Request`."),
        parameters=[_FRAGMENT],
    )


def _extend() -> Schema:
    lifetimes = {"enum": [*map(str, LIFETIMES_DAYS), "never"]}
    return _change(
        "extend",
        "Keep a shared link that this browser has made for so many days from now on.",
        _changed(200, "Its row, with `HX-Request`."),
        parameters=[_FRAGMENT],
        requestBody=_form({"lifetime_days": lifetimes}, required=["lifetime_days"]),
    )


def _report() -> Schema:
    details = TEXT | {"maxLength": LONGEST_DETAILS}
    return _change(
        "report",
        "Tell the operator what is wrong with a shared link. Who does is not kept.",
        {201: ("Thank you.", PAGE)} | site_refusals(_CHANGED, PAGE),
        parameters=[_FRAGMENT],
        requestBody=_form({"reason": {"enum": [*REPORT_REASONS]}, "details": details}, required=["reason"]),
    )


def _own_links() -> Schema:
    return _operation(
        "ownLinks",
        "The shared links that this browser has made, newest first.",
        {200: ("The page.", PAGE)} | site_refusals((errors.StorageBusy, errors.StorageFull), PAGE),
        parameters=[parameter("page", TEXT, place="query")],
    )


def _take_over() -> Schema:
    return _change(
        "takeOver",
        "Let this browser manage the links of another, by its manage key.",
        _changed(303, "To its links."),
        requestBody=_form({"key": TEXT | {"pattern": "^[A-Za-z0-9_-]{43}$"}}, required=["key"]),
    )


def _forget() -> Schema:
    return _change(
        "forget",
        "Let this browser forget its manage key. The links stay.",
        {200: ("The page it leads to.", PAGE), 303: ("To the page of links.", PAGE), 400: ("CsrfTokenInvalid", PAGE)},
    )


def _changed(status: int, meaning: str) -> Answers:
    return {status: (meaning, PAGE), 303: ("Back to where it stands.", PAGE)} | site_refusals(_CHANGED, PAGE)


def _form(fields: Schema, *, required: list[str]) -> Schema:
    schema = {"type": "object", "properties": fields, "required": required}
    return {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}
