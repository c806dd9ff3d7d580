"""Get code: the request that the composer holds, as code in every language. Starts nothing. Knows forms and pages."""

import msgspec
from flask import Blueprint, Response, make_response, render_template, request

from webapp.catalog import Catalog
from webapp.web.errors import RequestError
from webapp.web.playground_forms import read_form, read_history
from webapp.web.refusals import refuse
from webapp.web.request_fields import GenerationFields, find_model, to_request
from webapp.web.snippets import Snippet, body_of_messages, write_snippets


def blueprint(catalog: Catalog) -> Blueprint:
    """The route. With `HX-Request` the code comes back, without it a page with the code."""
    routes = Blueprint("code_page", __name__)

    @routes.post("/code")
    def show() -> Response:
        try:
            snippets = _snippets_of_form(catalog)
        except RequestError as error:
            return refuse(error)
        template = "_code.html" if "HX-Request" in request.headers else "code.html"
        return make_response(render_template(template, snippets=snippets))

    return routes


def run_body(fields: GenerationFields) -> dict[str, object]:
    """The body of a streamed run with these fields, as the run route takes it; only what was given."""
    given = {name: value for name, value in msgspec.to_builtins(fields).items() if value is not None}
    given["stream"] = True
    if "messages" not in given:
        return given
    messages = given.pop("messages")
    return body_of_messages([{"role": each["role"], "content": each["content"]} for each in messages]) | given


def _snippets_of_form(catalog: Catalog) -> list[Snippet]:
    """Raises RequestError where the playground would refuse the same form."""
    form = request.form
    fields = read_form(form, read_history(form))
    entry, serving = find_model(catalog, form.get("model", ""))
    to_request(fields, entry, serving)
    return write_snippets(entry.name, run_body(fields), base_url=request.host_url)
