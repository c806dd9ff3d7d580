"""Parts of a reply that every API and page shares. Knows no shape of any of them."""

import msgspec
from flask import Response

from webapp.catalog import CatalogEntry
from webapp.web.errors import RequestError


def json_reply(payload: object, status: int = 200) -> Response:
    """The payload as JSON, typed exactly so: some clients compare the type with ==, and a charset breaks them."""
    return Response(msgspec.json.encode(payload), status=status, content_type="application/json")


def with_retry_after(response: Response, error: RequestError) -> Response:
    """The response to an error, saying when it is worth trying again, where that is known."""
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def name_stand_in(response: Response, entry: CatalogEntry, serving: CatalogEntry) -> Response:
    """The response, saying what has answered where that is not the model that was asked for."""
    if serving is not entry:
        response.headers["x-jeton-served-by"] = serving.name
    return response
