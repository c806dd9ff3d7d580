"""A request's body as JSON, whatever it says it is, also compressed. Knows no field."""

import zlib
from collections.abc import Iterable

import msgspec
from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from webapp.web import errors

_TOO_LARGE = "The request's body is too large"
# RFC 1952: how every gzip file begins, and no JSON does.
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = zlib.MAX_WBITS | 16
# Compressors make one, or one for each block. Thousands of empty ones would hold up every stream of this process.
_MOST_MEMBERS = 100
# Lists and objects inside each other: far more than any schema has, and few enough to be written out again anywhere,
# which takes more of the stack than reading them here.
MOST_LEVELS = 200


def read_json_body() -> dict[str, object]:
    """The body as JSON, whatever its headers say: curl's default says form, @cloudflare/ai 1.1.0 a wrong encoding.

    What begins as gzip is decompressed, under the limit that the body itself has. Raises RequestError.
    """
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise errors.BodyTooLarge(_TOO_LARGE) from None
    except ClientDisconnected:
        # Also for chunks that cannot be read, whose client may still be there.
        raise errors.BodyMissing("The request's body is not complete") from None
    if request.content_length is None and len(body) == request.max_content_length:
        # Werkzeug cuts a chunked body off at the limit and says nothing.
        raise errors.BodyTooLarge(_TOO_LARGE)
    if body.startswith(_GZIP_MAGIC):
        body = _decompress(body, most_bytes=request.max_content_length or len(body))
    if not body.strip():
        raise errors.BodyMissing("The request has no body")
    try:
        given = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise errors.InvalidFields({"body": f"must be a JSON object: {error}"}) from None
    if body.count(b"[") + body.count(b"{") > MOST_LEVELS and _is_too_deep(given):
        raise errors.InvalidFields({"body": f"must be a JSON object of at most {MOST_LEVELS} levels"})
    return given


def _is_too_deep(given: object) -> bool:
    level = [given]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in _values(outer) if isinstance(inner, dict | list)]
    return bool(level)


def _values(outer: object) -> Iterable[object]:
    if isinstance(outer, dict):
        return outer.values()
    return outer if isinstance(outer, list) else ()


def _decompress(body: bytes, *, most_bytes: int) -> bytes:
    whole, rest = b"", body
    try:
        for _ in range(_MOST_MEMBERS):
            member = zlib.decompressobj(_GZIP)
            # Makes no more than it is asked to: what would become gigabytes is never there.
            whole += member.decompress(rest, most_bytes + 1 - len(whole))
            if len(whole) > most_bytes:
                raise errors.BodyTooLarge(f"{_TOO_LARGE} once it is decompressed")
            if not member.eof:
                raise _not_gzip("it breaks off")
            rest = member.unused_data
            if not rest:
                return whole
    except zlib.error as error:
        raise _not_gzip(str(error)) from None
    raise _not_gzip(f"it has more than {_MOST_MEMBERS} members")


def _not_gzip(reason: str) -> errors.InvalidFields:
    return errors.InvalidFields({"body": f"cannot be decompressed: {reason}"})
