"""The page of a shared link: all of the run as it was, its replay, and the same request run again beside it.

What a script may read of it, its events and its JSON, is allowed to every origin: whoever knows the address may read
all of it, and the embedded page has no origin of its own.
"""

from collections.abc import Callable

import msgspec
from flask import Blueprint, Response, make_response, render_template, request, session, url_for
from msgspec import Struct

from webapp.catalog import Catalog, CatalogEntry
from webapp.web.callers import network
from webapp.web.errors import GenerationFailed, GenerationNotFound, InvalidFields, RequestError
from webapp.web.generations import Generations
from webapp.web.limits import RateLimits
from webapp.web.links.comparison import Answer, Comparison, compare
from webapp.web.links.embed import embed_code
from webapp.web.links.manage_key import manage_key
from webapp.web.links.replay import Replays, Speed
from webapp.web.links.shared_run import SharedRun
from webapp.web.links.shown_run import figures, is_same_request, messages_of, parameters, run_body, shown_run
from webapp.web.links.store import LinkFacts, SharedLinks
from webapp.web.playground_frames import usage
from webapp.web.pool_client import PoolClient
from webapp.web.refusals import refuse
from webapp.web.replies import json_reply, with_retry_after
from webapp.web.sessions import owner
from webapp.web.snippets import write_snippets
from webapp.web.sse import event_stream, read_last_event_id, watch_reader
from webapp.wire.generation import Failed, Finished
from webapp.wire.messages import Submit

SPEEDS: dict[str, Speed] = {"1": 1, "2": 2, "4": 4}
# Who has the address may read it; nobody is to find it, nor to learn it from the sites that an answer links to.
PRIVATE_HEADERS = {
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
    # What a sandboxed frame opens is sandboxed too, and shows nothing that asks for a group of its own (WHATWG HTML,
    # cross-origin opener policies): the way back from an embedded link would be an empty page.
    "Cross-Origin-Opener-Policy": "unsafe-none",
}
# The preview of the other sites shows so much of it.
LONGEST_DESCRIPTION = 200


class Again(Struct, frozen=True, kw_only=True):
    """The run that was made here now. Without `comparison` it is still being made."""

    title: str
    stand_in: str | None
    generation_id: str
    comparison: Comparison | None = None


def blueprint(
    catalog: Catalog,
    pool: PoolClient,
    generations: Generations,
    *,
    links: SharedLinks,
    replays: Replays,
    limits: RateLimits,
    grace_seconds: float,
) -> Blueprint:
    """The routes."""
    routes = Blueprint("shared_pages", __name__)

    @routes.get("/s/<slug>")
    def show(slug: str) -> Response:
        link, run = links.open(slug)
        return make_response(_page(link, run))

    @routes.get("/s/<slug>/events")
    @_for_scripts
    def events(slug: str) -> Response:
        after, speed = read_last_event_id(), _read_speed()
        _, run = links.open(slug)
        replay = replays.open(run, slug=slug, address=network(request), speed=speed, after=after)
        if replay is None:
            return Response(status=204)
        response = event_stream(replay.chunks())
        # Also where the generator was never started, as for HEAD.
        response.call_on_close(replay.close)
        watch_reader(replay)
        return response

    @routes.get("/s/<slug>/run.json")
    @_for_scripts
    def record(slug: str) -> Response:
        link, run = links.open(slug)
        return json_reply(_report(link, run))

    @routes.post("/s/<slug>/run")
    def run_again(slug: str) -> Response:
        link, run = links.open(slug)
        is_fragment = "HX-Request" in request.headers
        submit, entry, serving = generations.repeat(
            run.request, run.model, owner=owner(), client=owner(), grace_seconds=grace_seconds if is_fragment else 0.0
        )
        limits.count_generation(request)
        again = Again(
            title=entry.title,
            stand_in=serving.title if serving is not entry else None,
            generation_id=submit.generation_id,
        )
        if is_fragment:
            pool.submit(submit)
            return make_response(render_template("_run_again.html", link=link, again=again), 201)
        comparison = compare(_answer_then(run), _answer_now(generations, submit, serving))
        return make_response(_page(link, run, again=msgspec.structs.replace(again, comparison=comparison)))

    @routes.get("/s/<slug>/run/<generation_id>")
    def comparison(slug: str, generation_id: str) -> Response:
        link, run = links.open(slug)
        record = pool.record(generation_id, session.get("owner", ""))
        if not is_same_request(record.request, run.request):
            raise GenerationNotFound("This generation has another request than the shared link.")
        match record.end:
            case Finished() as finished:
                now = _answer(
                    "".join(text for _, text in record.texts),
                    finished,
                    title=catalog.title_of(record.request.model),
                    engine=(record.device, record.precision),
                )
            case Failed(code=code, message=message):
                raise GenerationFailed(code, message)
            case None:
                raise InvalidFields({"generation_id": "its answer is still being written"})
        return make_response(
            render_template(
                "_comparison.html",
                link=link,
                comparison=compare(_answer_then(run), now),
                generation_id=generation_id,
            )
        )

    @routes.errorhandler(RequestError)
    def refuse_page(error: RequestError) -> Response:
        return refuse(error)

    @routes.after_request
    def keep_private(response: Response) -> Response:
        response.headers.update(PRIVATE_HEADERS)
        return response

    def _page(link: LinkFacts, run: SharedRun, *, again: Again | None = None) -> str:
        key = manage_key()
        url = url_for("shared_pages.show", slug=link.slug, _external=True)
        return render_template(
            "shared.html",
            link=link,
            run=run,
            shown=shown_run(run),
            parameters=parameters(run.request),
            again=again,
            url=url,
            description=_description(link),
            embed_code=embed_code(url_for("embed.show", slug=link.slug, _external=True), run.model_title),
            snippets=write_snippets(run.model, run_body(run.request), base_url=request.host_url),
            is_own=key is not None and links.is_managed_by(link.slug, key),
            is_for_ever_allowed=links.is_for_ever_allowed,
        )

    return routes


def _for_scripts(view: Callable[[str], Response]) -> Callable[[str], Response]:
    """The view, readable by every origin, and with errors as JSON."""

    def read(slug: str) -> Response:
        try:
            response = view(slug)
        except RequestError as error:
            body = {"error": {"code": error.code, "message": error.message}}
            response = with_retry_after(json_reply(body, error.status), error)
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        return response

    read.__name__ = view.__name__
    return read


def _read_speed() -> Speed:
    speed = SPEEDS.get(request.args.get("speed", "1"))
    if speed is None:
        raise InvalidFields({"speed": f"must be one of {', '.join(SPEEDS)}"})
    return speed


def _report(link: LinkFacts, run: SharedRun) -> dict[str, object]:
    return {
        "slug": link.slug,
        "created_at": link.created_at.isoformat(),
        "expires_at": link.expires_at.isoformat() if link.expires_at else None,
        "model": run.model,
        "served_by": run.request.model,
        "revision": run.revision,
        "device": run.device,
        "precision": run.precision,
        "messages": messages_of(run.request),
        "parameters": parameters(run.request),
        "text": run.text,
        "texts": run.texts,
        "usage": figures(run),
    }


def _description(link: LinkFacts) -> str:
    return link.opening[:LONGEST_DESCRIPTION] if link.has_prompt_in_preview else ""


def _answer_then(run: SharedRun) -> Answer:
    finished = Finished(run.finish_reason, run.usage, run.timings)
    return _answer(run.text, finished, title=run.serving_title, engine=(run.device, run.precision))


def _answer_now(generations: Generations, submit: Submit, serving: CatalogEntry) -> Answer:
    answer = generations.answer(submit)
    assert answer.finished is not None
    engine = (answer.started.device, answer.started.precision) if answer.started else ("", "")
    return _answer(answer.text, answer.finished, title=serving.title, engine=engine)


def _answer(text: str, finished: Finished, *, title: str, engine: tuple[str, str]) -> Answer:
    device, precision = engine
    return Answer(
        text=text,
        title=title,
        device=device,
        precision=precision,
        finish_reason=finished.finish_reason,
        figures=usage(finished),
    )
