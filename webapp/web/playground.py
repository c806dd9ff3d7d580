"""The playground: the page, its generations and their event streams. Knows forms and pages, nothing of engines."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec
from flask import Blueprint, Response, make_response, render_template, request, session, url_for
from msgspec import Struct
from werkzeug.datastructures import MultiDict

from webapp.catalog import Catalog, CatalogEntry
from webapp.web.errors import InvalidFields, PoolUnavailable, RequestError
from webapp.web.generations import Generations
from webapp.web.limits import RateLimits
from webapp.web.model_choices import default_model, model_choices
from webapp.web.playground_frames import frames, usage
from webapp.web.pool_client import PoolClient
from webapp.web.replies import with_retry_after
from webapp.web.request_fields import DEFAULT_MAX_TOKENS, GenerationFields, read_fields
from webapp.web.resuming import resume
from webapp.web.sessions import owner
from webapp.web.sse import read_last_event_id
from webapp.wire.messages import PoolState

EXAMPLES = (
    {"title": "A short story", "prompt": "Write a very short story about a coin that could talk."},
    {"title": "Explain simply", "prompt": "Explain to a ten-year-old why the sky is blue."},
    {"title": "Some Python", "prompt": "Write a Python function that tells whether a word is a palindrome."},
    {"title": "A plain question", "prompt": "Where is New York?"},
)


class HistoryMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """A message of a finished turn, as the form carries it."""

    role: str
    content: str


@dataclass(frozen=True)
class FormValues:
    """What stands in the composer, as text."""

    model: str
    system: str = ""
    prompt: str = ""
    temperature: str = "0.6"
    top_p: str = ""
    top_k: str = ""
    max_tokens: str = str(DEFAULT_MAX_TOKENS)
    seed: str = ""
    repetition_penalty: str = ""


@dataclass(frozen=True)
class Turn:
    """One prompt and its answer; `answer` is None while it streams."""

    prompt: str
    model_title: str
    served_by_title: str | None = None
    generation_id: str = ""
    events_url: str = ""
    abort_url: str = ""
    answer: str | None = None
    error: dict[str, object] | None = None
    usage: dict[str, object] | None = None
    finish_reason: str | None = None


@dataclass(frozen=True)
class PageContent:
    """What a page shows besides the models."""

    form: FormValues
    turns: list[Turn] = field(default_factory=list)
    history: list[HistoryMessage] = field(default_factory=list)
    error: dict[str, object] | None = None


def blueprint(
    catalog: Catalog, pool: PoolClient, generations: Generations, *, limits: RateLimits, grace_seconds: float
) -> Blueprint:
    """The routes of the playground."""
    routes = Blueprint("playground", __name__)

    def page(content: PageContent, status: int = 200) -> Response:
        models = model_choices(catalog, _state_or_none(pool))
        body = render_template(
            "playground.html",
            models=models,
            form=content.form,
            turns=content.turns,
            history=[msgspec.structs.asdict(message) for message in content.history],
            error=content.error,
            examples=EXAMPLES,
            default_max_tokens=DEFAULT_MAX_TOKENS,
        )
        return make_response(body, status)

    @routes.get("/")
    def show() -> Response:
        owner()
        return page(PageContent(FormValues(model=default_model(catalog))))

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
        return resume(pool, generation_id, after=after, write=frames)

    @routes.post("/generations/<generation_id>/abort")
    def abort(generation_id: str) -> Response:
        pool.abort(generation_id, session.get("owner", ""))
        return Response(status=204)

    return routes


def _create_fragment(
    generations: Generations, pool: PoolClient, *, limits: RateLimits, grace_seconds: float
) -> Response:
    """The new turn, whose events the page then reads."""
    form = _form_values(request.form)
    try:
        fields = _read_form(request.form, _read_history(request.form))
        submit, entry, serving = generations.prepare(
            fields, form.model, owner=owner(), client=owner(), grace_seconds=grace_seconds
        )
        limits.count_generation(request)
        pool.submit(submit)
    except RequestError as error:
        return with_retry_after(
            make_response(render_template("_error.html", error=_describe(error)), error.status), error
        )
    turn = Turn(
        prompt=form.prompt,
        model_title=entry.title,
        served_by_title=_stand_in_title(entry, serving),
        generation_id=submit.generation_id,
        events_url=url_for("playground.events", generation_id=submit.generation_id),
        abort_url=url_for("playground.abort", generation_id=submit.generation_id),
    )
    return make_response(render_template("_turn.html", turn=turn), 201)


def _create_page(
    generations: Generations, page: Callable[[PageContent, int], Response], *, limits: RateLimits
) -> Response:
    """Without JavaScript: the whole conversation comes back as a page, with the answer."""
    form = _form_values(request.form)
    history: list[HistoryMessage] = []
    try:
        history = _read_history(request.form)
        fields = _read_form(request.form, history)
        submit, entry, serving = generations.prepare(fields, form.model, owner=owner(), client=owner())
        limits.count_generation(request)
        answer = generations.answer(submit)
    except RequestError as error:
        content = PageContent(form, _past_turns(history, form.model), history, _describe(error))
        return with_retry_after(page(content, error.status), error)
    assert answer.finished is not None
    turn = Turn(
        prompt=form.prompt,
        model_title=entry.title,
        served_by_title=_stand_in_title(entry, serving),
        answer=answer.text,
        usage=usage(answer.finished),
        finish_reason=answer.finished.finish_reason,
    )
    turns = [*_past_turns(history, entry.title), turn]
    history += [HistoryMessage("user", form.prompt), HistoryMessage("assistant", answer.text)]
    return page(PageContent(replace(form, prompt=""), turns, history), 200)


def _state_or_none(pool: PoolClient) -> PoolState | None:
    try:
        return pool.state()
    except PoolUnavailable:
        return None


def _form_values(form: MultiDict[str, str]) -> FormValues:
    names = FormValues.__dataclass_fields__
    return FormValues(**({"model": ""} | {name: _text(form, name) for name in names if name in form}))


def _text(form: MultiDict[str, str], name: str) -> str:
    """A field's text with the line ends that were typed: a form sends each as CR LF."""
    return form.get(name, "").replace("\r\n", "\n")


def _read_history(form: MultiDict[str, str]) -> list[HistoryMessage]:
    try:
        return [msgspec.json.decode(text, type=HistoryMessage) for text in form.getlist("history")]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidFields({"history": str(error)}) from None


def _read_form(form: MultiDict[str, str], history: list[HistoryMessage]) -> GenerationFields:
    """The typed fields: system prompt, earlier turns and the new prompt become the messages. Raises InvalidFields."""
    prompt, system_prompt = _text(form, "prompt"), _text(form, "system")
    if not prompt.strip():
        raise InvalidFields({"prompt": "is empty"})
    parameters = read_fields({name: form[name] for name in form if name not in ("messages", "options")}, is_form=True)
    system = [HistoryMessage("system", system_prompt)] if system_prompt.strip() else []
    messages = [msgspec.structs.asdict(message) for message in (*system, *history, HistoryMessage("user", prompt))]
    conversation = read_fields({"messages": messages})
    return msgspec.structs.replace(parameters, prompt=None, messages=conversation.messages)


def _past_turns(history: list[HistoryMessage], model_title: str) -> list[Turn]:
    pairs = zip(history[::2], history[1::2], strict=False)
    return [Turn(prompt=user.content, model_title=model_title, answer=answer.content) for user, answer in pairs]


def _stand_in_title(entry: CatalogEntry, serving: CatalogEntry) -> str | None:
    return serving.title if serving is not entry else None


def _describe(error: RequestError) -> dict[str, object]:
    field_name = next(iter(error.fields)) if isinstance(error, InvalidFields) else None
    return {"code": error.code, "message": error.message, "field": field_name, "retry_after": error.retry_after}
