"""Requests that two servers could read in two ways are refused, and nothing in them is taken for a second request."""

import pytest

from tests.harness import TOKEN, Server
from tests.security.callers import RUN, send_raw

POST = f"POST {RUN} HTTP/1.1\r\n".encode()
GET = b"GET /healthz HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
KNOWN = b"Authorization: Bearer %b\r\n" % TOKEN.encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n"
# What a smuggler would have the next server take for a request of its own.
SMUGGLED = b"GET /pool.json HTTP/1.1\r\nHost: localhost\r\n\r\n"

REFUSED = {
    "length and chunks": (POST + HOST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED, 400),
    "chunks and length": (POST + HOST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "two lengths": (POST + HOST + b"Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}" + SMUGGLED, 400),
    "the same length twice": (POST + HOST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "a list of lengths": (POST + HOST + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    "a signed length": (POST + HOST + b"Content-Length: +2\r\n\r\n{}", 400),
    "a negative length": (POST + HOST + b"Content-Length: -2\r\n\r\n{}", 400),
    "a length that is none": (POST + HOST + b"Content-Length: 2x\r\n\r\n{}", 400),
    "chunked twice": (POST + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked and then not": (POST + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    # RFC 9112, 6.1: a coding that the server does not know.
    "an unknown coding": (POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "chunked in HTTP/1.0": (POST.replace(b"1.1", b"1.0") + HOST + CHUNKED + b"\r\n0\r\n\r\n", 400),
    "a folded header": (GET + HOST + b"A: b\r\n c\r\n\r\n", 400),
    "NUL in a value": (GET + HOST + b"A: b\0c\r\n\r\n", 400),
    "NUL in a name": (GET + HOST + b"A\0: b\r\n\r\n", 400),
    "NUL in the path": (b"GET /healthz\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a bare CR": (GET + HOST + b"A: b\rc\r\n\r\n", 400),
    "bare LFs": (b"GET /healthz HTTP/1.1\nHost: localhost\n\n", 400),
    "a space before the colon": (GET + HOST + b"A : b\r\n\r\n", 400),
    "a header without a colon": (GET + HOST + b"A\r\n\r\n", 400),
    "no host": (GET + b"Connection: close\r\n\r\n", 400),
    "two hosts": (GET + HOST + b"Host: other\r\n\r\n", 400),
    "a host that is no name": (GET + b'Host: a@b"><script>\r\nConnection: close\r\n\r\n', 400),
    "a port of many digits": (GET + b"Host: localhost:%b\r\nConnection: close\r\n\r\n" % (b"9" * 5000), 400),
    "another name than this machine's": (GET + b"Host: evil.example\r\nConnection: close\r\n\r\n", 400),
    "a large header": (GET + HOST + b"A: " + b"x" * 10_000 + b"\r\n\r\n", 431),
    "many headers": (GET + HOST + b"".join(b"A%d: x\r\n" % n for n in range(200)) + b"\r\n", 431),
    "a header that does not end": (GET + HOST + b"A: " + b"x" * 1_000_000, 431),
    "a long line": (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a method that is none": (b"G(T /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an unknown version": (b"GET /healthz HTTP/9.9\r\n" + HOST + b"\r\n", 400),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a PROXY line": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET + HOST + b"\r\n", 400),
    "TRACE": (b"TRACE / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 405),
    "CONNECT": (b"CONNECT evil.example:80 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", 404),
}
BAD_CHUNKS = {
    "no number": b"zz\r\n{}\r\n0\r\n\r\n",
    "a sign": b"-2\r\n{}\r\n0\r\n\r\n",
    "a prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "more than it says": b"2\r\n{}x\r\n0\r\n\r\n",
    "an endless number": b"f" * 10_000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_request_that_is_not_plain_is_refused_alone(server: Server, name: str) -> None:
    data, status = REFUSED[name]

    answer = send_raw(server, data)

    assert (answer.status, answer.count) == (status, 1)
    assert b"<script" not in answer.data and b"processes" not in answer.data


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_chunks_that_cannot_be_read_are_the_clients_error(server: Server, name: str) -> None:
    answer = send_raw(server, POST + HOST + KNOWN + CHUNKED + b"\r\n" + BAD_CHUNKS[name] + SMUGGLED)

    assert (answer.status, answer.count) == (400, 1)


def test_two_plain_requests_on_one_connection_are_two(server: Server) -> None:
    answer = send_raw(server, GET + HOST + b"\r\n" + GET + HOST + b"Connection: close\r\n\r\n")

    assert (answer.status, answer.count) == (200, 2)


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:8000", b"127.0.0.1", b"[::1]:8000", b"a.localhost"])
def test_local_name_of_any_kind_is_answered(server: Server, host: bytes) -> None:
    answer = send_raw(server, GET + b"Host: " + host + b"\r\nConnection: close\r\n\r\n")

    assert answer.status == 200


def test_headers_that_only_a_proxy_should_send_name_no_path(server: Server) -> None:
    believed = b"SCRIPT_NAME: /healthz\r\nPATH_INFO: /healthz\r\nX-Forwarded-Proto: https\r\n"

    for path, status in ((b"/healthz", 200), (b"/healthz/healthz", 404)):
        answer = send_raw(server, b"GET %b HTTP/1.1\r\n" % path + HOST + believed + b"Connection: close\r\n\r\n")
        assert answer.status == status, answer
