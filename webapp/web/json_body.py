"""A request's body as JSON, whatever it says it is. Knows no field."""

import msgspec
from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from webapp.web import errors


def read_json_body() -> dict[str, object]:
    """The body as JSON, whatever its content type says, as curl's default says form. Raises RequestError."""
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise errors.BodyTooLarge("The request's body is too large") from None
    except ClientDisconnected:
        # Also for chunks that cannot be read, whose client may still be there.
        raise errors.BodyMissing("The request's body is not complete") from None
    if request.content_length is None and len(body) == request.max_content_length:
        # Werkzeug cuts a chunked body off at the limit and says nothing.
        raise errors.BodyTooLarge("The request's body is too large")
    if not body.strip():
        raise errors.BodyMissing("The request has no body")
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise errors.InvalidFields({"body": f"must be a JSON object: {error}"}) from None
