"""What is sent compressed, to whom, and what never is."""

import gzip

import brotli
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from webapp.web.headers import SECURITY_HEADERS

BROWSER = {"Accept-Encoding": "gzip, deflate, br, zstd"}
SCRIPT = "/static/token-stream.js"


@pytest.mark.parametrize("path", ["/", "/api", "/openapi.json", SCRIPT, "/static/style.css", "/static/icons.svg"])
def test_pages_json_and_static_files_are_compressed_for_browsers(client: FlaskClient, path: str) -> None:
    plain, compressed = client.get(path), client.get(path, headers=BROWSER)

    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "br"
    assert int(compressed.headers["Content-Length"]) == len(compressed.data) < len(plain.data) / 2
    assert "Accept-Encoding" in compressed.headers["Vary"]
    assert {name: compressed.headers.get(name) for name in SECURITY_HEADERS} == {
        name: plain.headers.get(name) for name in SECURITY_HEADERS
    }
    assert compressed.headers["Cache-Control"] == plain.headers["Cache-Control"]
    # Each page has a CSRF token of its own.
    if path != "/":
        assert brotli.decompress(compressed.data) == plain.data


def test_gzip_for_those_who_know_nothing_else(client: FlaskClient) -> None:
    answer = client.get(SCRIPT, headers={"Accept-Encoding": "gzip"})

    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.data) == client.get(SCRIPT).data


@pytest.mark.parametrize("headers", [BROWSER, {}], ids=["compressed", "plain"])
def test_file_that_the_browser_has_is_not_sent_again(client: FlaskClient, headers: dict[str, str]) -> None:
    first = client.get(SCRIPT, headers=headers)
    again = client.get(SCRIPT, headers=headers | {"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["Cache-Control"] == "no-cache"


def test_encodings_of_a_file_are_told_apart(client: FlaskClient) -> None:
    tags = {
        client.get(SCRIPT, headers={"Accept-Encoding": encoding}).headers["ETag"]
        for encoding in ("identity", "gzip", "br")
    }

    assert len(tags) == 3


def test_part_of_a_file_stays_as_it_is(client: FlaskClient) -> None:
    part = client.get(SCRIPT, headers=BROWSER | {"Range": "bytes=0-999"})

    assert part.status_code == 206
    assert "Content-Encoding" not in part.headers
    assert part.data == client.get(SCRIPT).data[:1000]


def test_head_says_what_get_would(client: FlaskClient) -> None:
    head, get = client.head(SCRIPT, headers=BROWSER), client.get(SCRIPT, headers=BROWSER)

    assert head.data == b""
    assert [head.headers[name] for name in ("ETag", "Content-Length", "Content-Encoding")] == [
        get.headers[name] for name in ("ETag", "Content-Length", "Content-Encoding")
    ]


@pytest.mark.parametrize("mimetype", ["text/event-stream", "application/json", "text/html"])
def test_what_comes_piece_by_piece_is_never_compressed_nor_held_back(app: Flask, mimetype: str) -> None:
    taken: list[int] = []

    def pieces():
        for number in range(3):
            taken.append(number)
            yield b"data: %d\n\n" % number * 1000

    with app.test_request_context("/", headers=BROWSER):
        response = app.process_response(Response(pieces(), mimetype=mimetype))
        received = iter(response.response)
        first = next(received)

    assert "Content-Encoding" not in response.headers
    assert (first, taken) == (b"data: 0\n\n" * 1000, [0])


def test_pictures_are_compressed_already(app: Flask) -> None:
    with app.test_request_context("/", headers=BROWSER):
        response = app.process_response(Response(b"x" * 5000, mimetype="image/png"))

    assert "Content-Encoding" not in response.headers
