"""An error as pages show it: in the composer's own place where htmx asks, else on a page of its own. Knows no route."""

from flask import Response, make_response, render_template, request

from webapp.web.errors import InvalidFields, RequestError
from webapp.web.languages import say_error, say_fields
from webapp.web.replies import with_retry_after


def describe(error: RequestError) -> dict[str, object]:
    """What `_error.html` and `error.html` say of it; `field` is the first of the fields that cannot be used."""
    if isinstance(error, InvalidFields):
        field, message = next(iter(error.fields)), say_fields(error.fields)
    else:
        field, message = None, say_error(error.code, error.message)
    return {"code": error.code, "message": message, "field": field, "retry_after": error.retry_after}


def refuse(error: RequestError) -> Response:
    """The response to whoever asked: a fragment with `HX-Request`, without it a page."""
    template = "_error.html" if "HX-Request" in request.headers else "error.html"
    body = render_template(template, error=describe(error), status=error.status)
    return with_retry_after(make_response(body, error.status), error)
