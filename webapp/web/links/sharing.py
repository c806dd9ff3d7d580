"""Makes a shared link of a generation, from the pool's own record and never from a text that the client sends.

The same generation may be shared again: each time is another link, with a lifetime of its own.
"""

from typing import Literal

from flask import Blueprint, Response, make_response, redirect, render_template, request, session, url_for
from msgspec import Struct

from webapp.catalog import Catalog, ModelNotFound
from webapp.web.errors import GenerationNotFound, RequestError, RunNotShareable
from webapp.web.fields import read_struct
from webapp.web.limits import RateLimits
from webapp.web.links.manage_key import keep_manage_key, manage_key, new_manage_key
from webapp.web.links.shared_run import SharedRun
from webapp.web.links.store import SharedLinks
from webapp.web.pool_client import PoolClient
from webapp.web.refusals import refuse
from webapp.wire.generation import Finished, Timings
from webapp.wire.messages import GenerationRecord


class ShareFields(Struct, frozen=True):
    """What the form says. A box that is not ticked is not sent."""

    lifetime_days: Literal["1", "7", "30", "never"] = "7"
    has_prompt_in_preview: Literal["on"] | None = None


def blueprint(catalog: Catalog, pool: PoolClient, links: SharedLinks, *, limits: RateLimits) -> Blueprint:
    """The route. With `HX-Request` a fragment with the link comes back, without it the browser is sent to the link."""
    routes = Blueprint("sharing", __name__)

    @routes.app_context_processor
    def choices() -> dict[str, object]:
        return {"is_for_ever_allowed": links.is_for_ever_allowed}

    @routes.post("/generations/<generation_id>/share")
    def share(generation_id: str) -> Response:
        key = manage_key() or new_manage_key()
        try:
            fields = read_struct(ShareFields, request.form, is_form=True)
            run = shared_run(_own_record(pool, generation_id), catalog)
            limits.count_link(request)
            link = links.create(
                run,
                manage_key=key,
                lifetime_days=None if fields.lifetime_days == "never" else int(fields.lifetime_days),
                has_prompt_in_preview=fields.has_prompt_in_preview is not None,
            )
        except RequestError as error:
            return refuse(error)
        url = url_for("shared_pages.show", slug=link.slug, _external=True)
        if "HX-Request" in request.headers:
            # Only once: whoever sees it may revoke every link of this browser.
            shown_key = None if manage_key() else key
            body = render_template("_shared_link.html", link=link, url=url, manage_key=shown_key)
            response = make_response(body, 201)
        else:
            response = make_response(redirect(url, 303))
        keep_manage_key(response, key)
        return response

    return routes


def shared_run(record: GenerationRecord, catalog: Catalog) -> SharedRun:
    """The run as a link keeps it. Raises RunNotShareable where it has not ended, or has failed."""
    match record.end:
        case None:
            raise RunNotShareable("The answer is still being written: share it when it has ended, or stop it first.")
        case Finished() as finished:
            asked = record.request.asked_model or record.request.model
            return SharedRun(
                model=asked,
                model_title=catalog.title_of(asked),
                serving_title=catalog.title_of(record.request.model),
                revision=_revision(catalog, record.request.model),
                device=record.device,
                precision=record.precision,
                request=record.request,
                texts=tuple(record.texts),
                finish_reason=finished.finish_reason,
                usage=finished.usage,
                timings=finished.timings or Timings(0.0, 0.0, 0.0),
            )
        case _:
            raise RunNotShareable("The answer has failed: there is nothing whole to share. Run it again.")


def _own_record(pool: PoolClient, generation_id: str) -> GenerationRecord:
    try:
        return pool.record(generation_id, session.get("owner", ""))
    except GenerationNotFound:
        message = "The server keeps a run for an hour, and has no longer this one. Run it again to share it."
        raise GenerationNotFound(message) from None


def _revision(catalog: Catalog, name: str) -> str:
    # The catalogue may have changed since the run.
    try:
        return catalog.find(name).weights_revision
    except ModelNotFound:
        return ""
