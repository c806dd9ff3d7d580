"""OpenAI's `POST responses`: its answers and its streams. Knows not where it is served.

Source: OpenAI's API reference, Responses. Nothing is kept: there is no response to fetch, to go on from or to cancel.
"""

from flask import Blueprint, Response, request

from webapp.catalog import Catalog
from webapp.web.api.openai.responses_events import ResponseEvents, frames
from webapp.web.api.openai.responses_fields import read_fields, repeated, to_generation_fields
from webapp.web.gate import Gate
from webapp.web.generations import Generations, failure_of
from webapp.web.json_body import read_json_body
from webapp.web.replies import json_reply, name_stand_in
from webapp.web.request_fields import find_model
from webapp.web.sse import DONE, KEEP_ALIVE_SECONDS, Item, stream
from webapp.wire.messages import Submit


def add_routes(routes: Blueprint, catalog: Catalog, *, generations: Generations, gate: Gate) -> None:
    """Add the route to these."""

    @routes.post("/responses")
    def responses(account: str = "") -> Response:
        fields = read_fields(read_json_body())
        entry, serving = find_model(catalog, fields.model)
        asked = to_generation_fields(fields, entry)
        submit, _, _ = generations.prepare(
            asked, fields.model, owner=gate.holder, client=gate.holder, logprobs=fields.logprobs
        )
        gate.count_generation(request)
        events = ResponseEvents(submit, repeated(fields, submit.request))
        respond = _stream if fields.stream else _answer
        return name_stand_in(respond(generations, submit, events), entry, serving)


def _stream(generations: Generations, submit: Submit, events: ResponseEvents) -> Response:
    def write(item: Item) -> bytes:
        written = frames(events.take(item))
        # OpenAI's own stream ends without it, and the Open Responses specification asks for it; clients take both.
        return written + DONE if events.is_whole else written

    subscription, items = generations.start(submit)
    return stream(subscription, write, items=items, opening=frames(events.begin()))


def _answer(generations: Generations, submit: Submit, events: ResponseEvents) -> Response:
    """The response that the same events end with. Raises RequestError, also where it fails half-way."""
    subscription, items = generations.start(submit)
    with subscription:
        while True:
            for item in items:
                if error := failure_of(item):
                    raise error
                events.take(item)
            if events.is_whole:
                return json_reply(events.response)
            items = subscription.take(KEEP_ALIVE_SECONDS)
