"""A body is read as JSON whatever it says it is, decompressed under the limit, and refused with a sentence else."""

import gzip
import time
from collections.abc import Iterator

import pytest
from flask import Flask

from webapp.web import errors
from webapp.web.json_body import MOST_LEVELS, read_json_body

MOST_BYTES = 100_000


def pack(body: bytes) -> bytes:
    """Always the same bytes: they are part of a test's name."""
    return gzip.compress(body, mtime=0)


@pytest.fixture
def app() -> Iterator[Flask]:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    yield app


def read(app: Flask, body: bytes, headers: dict[str, str] | None = None) -> dict[str, object]:
    with app.test_request_context("/", method="POST", data=body, headers=headers):
        return read_json_body()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain", "Content-Encoding": "application/json"},
        {"Content-Type": "nonsense"},
    ],
    ids=str,
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_body_is_json_whatever_its_headers_say(app: Flask, headers: dict[str, str], *, is_compressed: bool) -> None:
    body = '{"prompt": "d\'où 🪙"}'.encode()

    assert read(app, gzip.compress(body) if is_compressed else body, headers) == {"prompt": "d'où 🪙"}


def test_gzip_of_several_members_is_one_body(app: Flask) -> None:
    assert read(app, gzip.compress(b'{"prompt":') + gzip.compress(b'"a"}')) == {"prompt": "a"}


def test_decompressed_body_may_be_as_long_as_the_limit_and_no_longer(app: Flask) -> None:
    longest = b'{"a":"' + b"x" * (MOST_BYTES - 8) + b'"}'

    assert len(longest) == MOST_BYTES
    assert read(app, gzip.compress(longest))
    with pytest.raises(errors.BodyTooLarge):
        read(app, gzip.compress(longest + b" "))


def test_bomb_is_refused_without_being_inflated(app: Flask) -> None:
    # A gigabyte takes seconds and a gigabyte of memory; its first bytes take neither.
    layers = gzip.compress(b"x" * 50_000_000)
    bomb = layers + gzip.compress(b"x" * 10_000_000)
    started_at = time.process_time()

    with pytest.raises(errors.BodyTooLarge, match="decompressed"):
        read(app, bomb)

    assert time.process_time() - started_at < 0.05


def test_thousands_of_empty_gzip_members_take_no_time(app: Flask) -> None:
    # A whole body of them held the process up for half a second.
    many = gzip.compress(b"") * 4000
    started_at = time.process_time()

    with pytest.raises(errors.InvalidFields, match="members"):
        read(app, many)

    assert time.process_time() - started_at < 0.05


@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")], ids=["objects", "lists"])
def test_body_has_so_many_levels_at_most(app: Flask, opening: bytes, closing: bytes) -> None:
    def body(levels: int) -> bytes:
        inner = levels - 1
        return b'{"x": [], "a":' + opening * inner + b"1" + closing * inner + b"}"

    assert read(app, body(MOST_LEVELS))
    with pytest.raises(errors.InvalidFields, match="levels"):
        read(app, body(MOST_LEVELS + 1))
    # Many of them side by side are not deep.
    assert read(app, b'{"a": [' + b"[]," * 1000 + b"[]]}")


@pytest.mark.parametrize("cut", [2, 3, 9, 10, 11, -9, -8, -1])
def test_torn_gzip_is_bad_input(app: Flask, cut: int) -> None:
    with pytest.raises(errors.InvalidFields, match="decompress"):
        read(app, gzip.compress(b'{"prompt": "a"}')[:cut])


@pytest.mark.parametrize(
    "body",
    [
        pack(b"{}") + b"junk",
        pack(b'{"a": 1}')[:-8] + b"\0" * 8,
        b"\x1f\x8b\x07" + b"\0" * 20,
        b"\x1f\x8b" + bytes(range(256)),
    ],
    ids=["junk after it", "wrong checksum", "no such method", "noise"],
)
def test_gzip_that_is_none_is_bad_input(app: Flask, body: bytes) -> None:
    with pytest.raises(errors.InvalidFields, match="decompress"):
        read(app, body)


@pytest.mark.parametrize("body", [b"", b"  \n", pack(b""), pack(b" ")])
def test_empty_body_is_missing(app: Flask, body: bytes) -> None:
    with pytest.raises(errors.BodyMissing):
        read(app, body)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", pack(b"[1]"), pack(pack(b"{}"))])
def test_what_is_no_json_object_is_bad_input(app: Flask, body: bytes) -> None:
    with pytest.raises(errors.InvalidFields, match="must be a JSON object"):
        read(app, body)
