"""`GET /worker-endpoint`: the published page's route, for `new EventSource("/worker-endpoint")`. Knows no page.

A GET that starts work. So it starts none for other sites, none for a browser that only looks ahead, and none twice:
each frame names its generation, and a browser that comes back with that name goes on with the same one.
"""

import re
import time
from functools import partial

import msgspec
from flask import Blueprint, Response, request
from msgspec import Struct
from werkzeug.exceptions import Forbidden, HTTPException

from webapp.web.callers import network
from webapp.web.errors import InvalidFields, RequestError
from webapp.web.fields import read_struct
from webapp.web.generations import Generations, failure_of
from webapp.web.limits import RateLimits
from webapp.web.playground_frames import frames, usage
from webapp.web.pool_client import PoolClient
from webapp.web.replies import json_reply, name_stand_in, with_retry_after
from webapp.web.request_fields import GenerationFields, read_fields
from webapp.web.resuming import RETRY_MILLISECONDS, resume
from webapp.web.sessions import owner
from webapp.web.sse import DONE, Item, data_frame, event_stream, retry_frame, stream, watch_reader
from webapp.web.subscription import Subscription
from webapp.wire.generation import Delta, Failed, Finished, Loading, Queued
from webapp.wire.messages import Published

# What the published Worker asks, and whom.
PUBLISHED_MODEL = "@cf/meta/llama-2-7b-chat-int8"
PUBLISHED_PROMPT = "where is new york?"
# The fields of a generation that its address can give.
PARAMETERS = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "stop",
)
# How long the status line waits for the first event, so that what fails at once has a status of its own. Past that
# the stream begins: a browser that loses its connection has to know by then what it was reading.
FIRST_EVENT_SECONDS = 2.0

_EVENT_ID = re.compile(r"([0-9a-f]{32}):([0-9]{1,12})", re.ASCII)


class EndpointFields(Struct, frozen=True):
    """What the address says besides the parameters of a generation."""

    prompt: str = PUBLISHED_PROMPT
    model: str = PUBLISHED_MODEL
    system: str | None = None


def blueprint(pool: PoolClient, generations: Generations, *, limits: RateLimits, grace_seconds: float) -> Blueprint:
    """The route."""
    routes = Blueprint("worker_endpoint", __name__)

    @routes.get("/worker-endpoint")
    def answer() -> Response:
        _refuse_others()
        if request.method == "HEAD":
            return event_stream([])
        if event_id := request.headers.get("Last-Event-ID"):
            return _resume(pool, event_id)
        return _start(pool, generations, limits=limits, grace_seconds=grace_seconds)

    routes.register_error_handler(RequestError, _error_response)
    routes.register_error_handler(HTTPException, _http_error_response)
    return routes


def _refuse_others() -> None:
    """Raises Forbidden where a page of another site asks, or a browser that may never show the answer."""
    headers = request.headers
    site = headers.get("Sec-Fetch-Site", "same-origin")
    # Browsers say the site only to addresses that they trust, such as https and localhost. Elsewhere an EventSource
    # of another site tells its origin, and an image where it stands.
    asking = (headers.get("Origin"), headers.get("Referer"))
    if site not in ("same-origin", "none") or any(page and _host(page) != request.host for page in asking):
        raise Forbidden("Pages of other sites cannot start generations here.")
    if any(name in headers for name in ("Sec-Purpose", "Purpose", "X-Moz")):
        raise Forbidden("Nothing is generated ahead of time.")


def _host(page: str) -> str:
    return page.partition("://")[2].partition("/")[0]


def _start(pool: PoolClient, generations: Generations, *, limits: RateLimits, grace_seconds: float) -> Response:
    given, fields = _read_query()
    # By address: whoever drops the cookie is a new owner each time, and must not be a new client.
    client = f"address {network(request)}"
    submit, entry, serving = generations.prepare(
        fields, given.model, owner=owner(), client=client, grace_seconds=grace_seconds
    )
    limits.count_generation(request)
    pool.submit(submit)
    subscription = pool.attach(submit.generation_id, submit.owner, after=0)
    assert subscription is not None
    try:
        watch_reader(subscription)
        items = _first_items(subscription)
    except BaseException:
        subscription.close()
        raise
    write = partial(_frames, generation_id=submit.generation_id)
    # An id without data is no event to the page; it is what the browser comes back with, were it lost at once.
    opening = _numbered(submit.generation_id, 0) + retry_frame(RETRY_MILLISECONDS)
    return name_stand_in(stream(subscription, write, items=items, opening=opening), entry, serving)


def _resume(pool: PoolClient, event_id: str) -> Response:
    found = _EVENT_ID.fullmatch(event_id)
    if not found:
        raise InvalidFields({"Last-Event-ID": "must be the id of an event of this route"})
    generation_id, after = found[1], int(found[2])
    return resume(pool, generation_id, after=after, write=partial(_frames, generation_id=generation_id))


def _read_query() -> tuple[EndpointFields, GenerationFields]:
    """Raises InvalidFields."""
    query = request.args
    given = read_struct(EndpointFields, query, is_form=True)
    fields = read_fields(
        {"prompt": given.prompt} | {name: query[name] for name in PARAMETERS if name in query}, is_form=True
    )
    if not given.system:
        return given, fields
    conversation = [{"role": "system", "content": given.system}, {"role": "user", "content": given.prompt}]
    messages = read_fields({"messages": conversation}).messages
    return given, msgspec.structs.replace(fields, prompt=None, messages=messages)


def _first_items(subscription: Subscription) -> list[Item]:
    """What comes until an engine has taken it, or for a moment. Raises RequestError where it fails by then."""
    until = time.monotonic() + FIRST_EVENT_SECONDS
    items: list[Item] = []
    while (seconds := until - time.monotonic()) > 0:
        taken = subscription.take(seconds)
        for item in taken:
            error = failure_of(item)
            if error and not any(isinstance(each, Published) and isinstance(each.event, Delta) for each in items):
                raise error
            items.append(item)
        if any(not (isinstance(item, Published) and isinstance(item.event, Queued | Loading)) for item in taken):
            break
    return items


def _frames(item: Item, *, generation_id: str) -> bytes:
    """The frames of one event: the playground's, but that ids name their generation."""
    if not isinstance(item, Published):
        return frames(item)
    match item.event:
        case Delta(text=text):
            return _numbered(generation_id, item.event_id) + data_frame({"response": text})
        case Finished() as finished:
            last = data_frame(usage(finished), event="usage")
        case Failed(code=code, message=message):
            last = data_frame({"code": code, "message": message}, event="error")
        case _:
            return frames(item)
    return last + _numbered(generation_id, item.event_id) + DONE


def _numbered(generation_id: str, event_id: int) -> bytes:
    return b"id: %b:%d\n" % (generation_id.encode(), event_id)


def _error_response(error: RequestError) -> Response:
    return with_retry_after(_problem(error.code, error.message, error.status), error)


def _http_error_response(error: HTTPException) -> Response:
    return _problem(error.name.title().replace(" ", ""), error.description or "", error.code or 500)


def _problem(code: str, message: str, status: int) -> Response:
    return json_reply({"error": {"code": code, "message": message}}, status)
