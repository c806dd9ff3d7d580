"""The playground: the page, its generations and their event streams. Knows forms and pages, nothing of engines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from flask import Blueprint, Response, make_response, render_template, request, session, url_for

from webapp.catalog import Catalog
from webapp.web.errors import InvalidFields, PoolUnavailable, RequestError
from webapp.web.generations import Generations
from webapp.web.languages import words
from webapp.web.limits import RateLimits
from webapp.web.links.store import SharedLinks
from webapp.web.model_choices import ModelChoice, default_model, model_choices
from webapp.web.playground_forms import (
    PARAMETERS,
    FormValues,
    HistoryMessage,
    form_of,
    form_values,
    read_form,
    read_history,
    read_setup,
)
from webapp.web.playground_frames import frames, usage
from webapp.web.playground_turns import Turn, new_turn, past_turns
from webapp.web.pool_client import PoolClient
from webapp.web.refusals import describe, refuse
from webapp.web.replies import with_retry_after
from webapp.web.request_fields import DEFAULT_MAX_TOKENS
from webapp.web.resuming import resume
from webapp.web.sessions import owner
from webapp.web.sse import read_last_event_id
from webapp.web.suggestions import EXAMPLES, PRESETS
from webapp.wire.messages import PoolState


@dataclass(frozen=True)
class PageContent:
    """What a page shows besides the models.

    `left_over` are messages that belong to none of the turns. `is_prefilled`: a link says what is in the form, and
    what the tab remembers is not put back. `refused_model` is what the link wanted and cannot be chosen here.
    """

    form: FormValues
    turns: Sequence[Turn] = ()
    left_over: Sequence[HistoryMessage] = ()
    error: dict[str, object] | None = None
    is_prefilled: bool = False
    is_fork: bool = False
    refused_model: str = ""


@dataclass(frozen=True)
class Setup:
    """What a link wants the page to begin with."""

    form: FormValues
    history: list[HistoryMessage] = field(default_factory=list)
    error: RequestError | None = None
    model_title: str = ""
    is_fork: bool = False


def blueprint(
    catalog: Catalog,
    pool: PoolClient,
    generations: Generations,
    *,
    links: SharedLinks,
    limits: RateLimits,
    grace_seconds: float,
) -> Blueprint:
    """The routes of the playground."""
    routes = Blueprint("playground", __name__)

    def page(content: PageContent, status: int = 200, *, models: list[ModelChoice] | None = None) -> Response:
        body = render_template(
            "playground.html",
            models=models or model_choices(catalog, _state_or_none(pool)),
            form=content.form,
            turns=content.turns,
            left_over=content.left_over,
            error=content.error,
            is_prefilled=content.is_prefilled,
            is_fork=content.is_fork,
            refused_model=content.refused_model,
            examples=EXAMPLES,
            presets=PRESETS,
            default_max_tokens=DEFAULT_MAX_TOKENS,
        )
        return make_response(body, status)

    @routes.get("/")
    def show() -> Response:
        owner()
        if not request.args.keys() & {"fork", "model", *PARAMETERS}:
            return page(PageContent(FormValues(model=default_model(catalog))))
        setup = _fork(links, request.args["fork"]) if request.args.get("fork") else _setup_of_query()
        # Values that are wrong still open the page; of a run that is gone the status says so as well.
        is_gone = setup.error is not None and not isinstance(setup.error, InvalidFields)
        models = model_choices(catalog, _state_or_none(pool))
        wanted = setup.form.model
        is_known = not wanted or any(model.name == wanted and model.is_selectable for model in models)
        form = setup.form if wanted and is_known else replace(setup.form, model=default_model(catalog))
        content = PageContent(
            form=form,
            turns=past_turns(setup.history, setup.model_title),
            left_over=_left_over(setup.history),
            error=describe(setup.error) if setup.error else None,
            is_prefilled=not is_gone,
            is_fork=setup.is_fork,
            refused_model="" if is_known else setup.model_title or wanted,
        )
        response = page(content, setup.error.status if setup.error and is_gone else 200, models=models)
        if setup.is_fork:
            # It shows what the shared link asked, which nobody is to find.
            response.headers["X-Robots-Tag"] = "noindex, nofollow"
        return response

    @routes.get("/models/options")
    def options() -> str:
        models = model_choices(catalog, _state_or_none(pool))
        return render_template("_model_options.html", models=models, form=FormValues(request.args.get("selected", "")))

    @routes.post("/generations")
    def create() -> Response:
        if "HX-Request" in request.headers:
            return _create_fragment(generations, pool, limits=limits, grace_seconds=grace_seconds)
        return _create_page(generations, page, limits=limits)

    @routes.get("/generations/<generation_id>/events")
    def events(generation_id: str) -> Response:
        after = read_last_event_id()
        return resume(pool, generation_id, after=after, write=partial(frames, say_error=words().say_error))

    @routes.post("/generations/<generation_id>/abort")
    def abort(generation_id: str) -> Response:
        pool.abort(generation_id, session.get("owner", ""))
        return Response(status=204)

    return routes


def _setup_of_query() -> Setup:
    form, problem = read_setup(request.args, FormValues(model=request.args.get("model", "")))
    return Setup(form, error=problem)


def _fork(links: SharedLinks, slug: str) -> Setup:
    """What the shared link's run was asked, up to its answer."""
    try:
        _, run = links.open(slug)
    except RequestError as error:
        return Setup(FormValues(model=""), error=error)
    form, history = form_of(run.request, run.model)
    return Setup(form, history, model_title=run.model_title, is_fork=True)


def _create_fragment(
    generations: Generations, pool: PoolClient, *, limits: RateLimits, grace_seconds: float
) -> Response:
    """The new turn, whose events the page then reads."""
    form = form_values(request.form)
    try:
        fields = read_form(request.form, read_history(request.form))
        submit, entry, serving = generations.prepare(
            fields, form.model, owner=owner(), client=owner(), grace_seconds=grace_seconds
        )
        limits.count_generation(request)
        pool.submit(submit)
    except RequestError as error:
        return refuse(error)
    turn = replace(
        new_turn(form, submit, entry, serving),
        events_url=url_for("playground.events", generation_id=submit.generation_id),
        abort_url=url_for("playground.abort", generation_id=submit.generation_id),
    )
    return make_response(render_template("_turn.html", turn=turn), 201)


def _create_page(generations: Generations, page: Callable[..., Response], *, limits: RateLimits) -> Response:
    """Without JavaScript: the whole conversation comes back as a page, with the answer."""
    form = form_values(request.form)
    history: list[HistoryMessage] = []
    try:
        history = read_history(request.form)
        if "leave_out" in request.form:
            return page(PageContent(form, past_turns(history[2:], form.model), _left_over(history)))
        fields = read_form(request.form, history)
        submit, entry, serving = generations.prepare(fields, form.model, owner=owner(), client=owner())
        limits.count_generation(request)
        begun = new_turn(form, submit, entry, serving)
        answer = generations.answer(submit)
    except RequestError as error:
        content = PageContent(form, past_turns(history, form.model), _left_over(history), describe(error))
        return with_retry_after(page(content, error.status), error)
    assert answer.finished is not None
    turn = replace(
        begun,
        answer=answer.text,
        usage=usage(answer.finished),
        finish_reason=answer.finished.finish_reason,
        messages=(HistoryMessage("user", form.prompt), HistoryMessage("assistant", answer.text)),
    )
    turns = [*past_turns(history, entry.title), turn]
    return page(PageContent(replace(form, prompt=""), turns, _left_over(history)))


def _left_over(history: Sequence[HistoryMessage]) -> Sequence[HistoryMessage]:
    return history[len(history) // 2 * 2 :]


def _state_or_none(pool: PoolClient) -> PoolState | None:
    try:
        return pool.state()
    except PoolUnavailable:
        return None
