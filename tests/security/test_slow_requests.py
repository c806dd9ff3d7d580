"""Clients that send slowly hold a connection for some seconds, and no longer. One run for all: each waits."""

from concurrent.futures import ThreadPoolExecutor

from tests.harness import Server
from tests.security.callers import OPERATOR_TOKEN, RUN, RawAnswer, send_raw

# gunicorn's `keepalive`, which is the time for headers too, and the time this server gives to bodies.
KEEPALIVE_SECONDS, BODY_SECONDS = 3.0, 2.0
# What a busy machine may add.
MARGIN_SECONDS = 4.0

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = f"POST {RUN} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OPERATOR_TOKEN}\r\n".encode()
LENGTH = b"Content-Length: 500\r\n\r\n"
CLIENTS = {
    "says nothing": (b"", b""),
    "a byte of a header at a time": (GET + b"A: ", b"x"),
    "a header at a time": (GET, b"A: x\r\n"),
    "says nothing after an answer": (GET + b"\r\n", b""),
    "a byte of a body at a time": (POST + LENGTH, b" "),
    "a chunk at a time": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "half a body": (POST + LENGTH + b'{"prompt"', b""),
    "a body that nobody reads": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + LENGTH, b" "),
    "a body without a token": (POST.replace(OPERATOR_TOKEN.encode(), b"wrong") + LENGTH, b" "),
}


def test_slow_clients_are_closed_in_time_while_others_are_answered(guarded: Server) -> None:
    with ThreadPoolExecutor(len(CLIENTS)) as threads:
        sent = {name: threads.submit(send_raw, guarded, data, then=then) for name, (data, then) in CLIENTS.items()}
        assert guarded.client.get("/healthz").status_code == 200
        answers: dict[str, RawAnswer] = {name: answer.result() for name, answer in sent.items()}

    for name, answer in answers.items():
        # The body's time, and then what gunicorn waits for the rest of it.
        limit = KEEPALIVE_SECONDS + (BODY_SECONDS if "POST" in str(CLIENTS[name][0]) else 0.0)
        assert answer.seconds < limit + MARGIN_SECONDS, (name, answer)
    assert answers["a byte of a body at a time"].status == answers["a chunk at a time"].status == 400
    assert answers["half a body"].status == 400
    assert answers["a body without a token"].status == 401
    assert answers["a header at a time"].data == answers["says nothing"].data == b""


def test_what_follows_a_body_that_came_too_late_is_no_request(guarded: Server) -> None:
    # Each of these bodies is still under way when its time is over, and what it goes on with reads like requests.
    starts = {
        f"{whose}, {framing}": head + length
        for whose, head in {
            "token": POST,
            "wrong token": POST.replace(OPERATOR_TOKEN.encode(), b"wrong"),
            "no such path": POST.replace(RUN.encode(), b"/client/v4/nowhere"),
        }.items()
        for framing, length in {
            "chunked": b"Transfer-Encoding: chunked\r\n\r\nFFFFF\r\n{",
            "long": b"Content-Length: 100000\r\n\r\n{",
        }.items()
    }

    with ThreadPoolExecutor(len(starts)) as threads:
        sent = {name: threads.submit(send_raw, guarded, data, then=GET + b"\r\n") for name, data in starts.items()}
        counts = {name: answer.result().count for name, answer in sent.items()}

    assert counts == dict.fromkeys(starts, 1)
