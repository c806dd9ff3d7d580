"""gunicorn's worker: sockets that send all there is, and calls of the app in greenlets of their own."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import gevent
import gevent.socket
import pytest
from werkzeug.test import Client

from webapp.web.worker import QuickSocket, with_calls_apart

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# More than the kernel buffers for a socket that nobody reads.
MUCH = bytes(range(256)) * 40_000


@pytest.fixture
def pair() -> Iterator[tuple[QuickSocket, gevent.socket.socket]]:
    """A quick socket, and who reads from it."""
    ours, theirs = gevent.socket.socketpair()
    quick = QuickSocket(ours.family, ours.type, ours.proto, fileno=ours.detach())
    yield quick, theirs
    quick.close()
    theirs.close()


def test_all_is_sent_however_little_the_kernel_takes_at_once(pair: tuple[QuickSocket, gevent.socket.socket]) -> None:
    quick, reader = pair
    sending = gevent.spawn(quick.sendall, MUCH)

    taken = bytearray()
    while len(taken) < len(MUCH):
        taken += reader.recv(100_000)
    sending.get(timeout=5)

    assert taken == MUCH


def test_reader_that_takes_nothing_is_given_up_after_the_time_out(
    pair: tuple[QuickSocket, gevent.socket.socket],
) -> None:
    quick, _ = pair
    quick.settimeout(0.05)

    with pytest.raises(TimeoutError):
        quick.sendall(MUCH)


def test_connection_that_has_gone_is_an_error(pair: tuple[QuickSocket, gevent.socket.socket]) -> None:
    quick, reader = pair
    reader.close()

    with pytest.raises(BrokenPipeError):
        quick.sendall(b"a")


def test_app_is_called_in_a_greenlet_that_has_ended_when_its_answer_is_read() -> None:
    callers: list[gevent.Greenlet] = []

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        callers.append(gevent.getcurrent())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"ended" if callers[0].dead else b"alive" for _ in range(1))

    answer = Client(with_calls_apart(app)).get("/")

    assert (answer.status_code, answer.text) == (200, "ended")
    assert callers[0] is not gevent.getcurrent()


def test_error_of_the_app_reaches_the_server() -> None:
    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        raise LookupError("of the app")

    with pytest.raises(LookupError, match="of the app"):
        Client(with_calls_apart(app)).get("/")
