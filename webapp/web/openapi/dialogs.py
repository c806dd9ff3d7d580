"""The routes of the playground's dialogs in `/openapi.json`: Get code, Share, and the drawer's dropped connection."""

from webapp.web import errors
from webapp.web.links.store import LIFETIMES_DAYS
from webapp.web.openapi.links import SHARED_LINKS
from webapp.web.openapi.parts import PAGE, SENTENCE_OR_PAGE, operation, or_empty, parameter, site_refusals
from webapp.web.openapi.schemas import TEXT, Schema, reference
from webapp.web.openapi.site import PLAYGROUND

_SIGNED = [{"session": [], "csrfToken": []}]
_FRAGMENT = parameter("HX-Request", TEXT, place="header")
_NOT_SHARED = (
    errors.InvalidFields,
    errors.GenerationNotFound,
    errors.RunNotShareable,
    errors.LinkQuotaReached,
    errors.RateLimitReached,
    errors.PoolUnavailable,
    errors.StorageBusy,
    errors.StorageFull,
)


def paths() -> Schema:
    """The paths and their operations."""
    own = [parameter("generation_id", TEXT, place="path")]
    return {
        "/code": {"post": _code()},
        "/generations/{generation_id}/drop": {"parameters": own, "post": _drop()},
        "/generations/{generation_id}/share": {"parameters": own, "post": _share()},
    }


def _code() -> Schema:
    return operation(
        "code",
        "The request that this form would send, as code in every language. Starts nothing.",
        {200: ("The code: a fragment with `HX-Request`, without it a page.", PAGE)}
        | site_refusals(errors.RequestError.__subclasses__(), PAGE),
        tag=PLAYGROUND,
        security=_SIGNED,
        parameters=[_FRAGMENT],
        requestBody=_form(reference("Form")),
    )


def _drop() -> Schema:
    refusals = (errors.GenerationNotFound, errors.PoolUnavailable)
    return operation(
        "drop",
        "Cut off who reads a generation of this session. It goes on, and its readers come back by themselves.",
        {204: ("They are cut off.", {}), 400: ("CsrfTokenInvalid", PAGE)} | site_refusals(refusals, SENTENCE_OR_PAGE),
        tag=PLAYGROUND,
        security=_SIGNED,
    )


def _share() -> Schema:
    fields = {
        "lifetime_days": or_empty({"enum": [*map(str, LIFETIMES_DAYS), "never"]}),
        "has_prompt_in_preview": or_empty({"const": "on"}),
    }
    return operation(
        "share",
        "Make a shared link of a generation of this session that has ended, from the server's own record of it.",
        {201: ("The link.", PAGE), 303: ("To the link, without `HX-Request`.", PAGE)}
        | site_refusals(_NOT_SHARED, PAGE),
        tag=SHARED_LINKS,
        security=_SIGNED,
        parameters=[_FRAGMENT],
        requestBody=_form({"type": "object", "properties": fields}),
    )


def _form(schema: Schema) -> Schema:
    return {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}
