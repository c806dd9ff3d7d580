"""A database that something else holds: who needs it is told to come back, everything else goes on."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.harness import Event, Server
from tests.security.callers import ask, make_token

# More than the threads and places of both processes together.
CALLERS = 40
# A query's wait for a thread, and the lock's own for the connection and the question; and what a busy machine adds.
LONGEST_SECONDS = 3.0 + 2 * 2.0 + 5.0


@contextmanager
def held(server: Server, *, is_shut_to_readers: bool) -> Iterator[None]:
    """The server's database, locked as by somebody else's long work."""
    other = sqlite3.connect(server.data_dir / "jeton.sqlite3", isolation_level=None)
    if is_shut_to_readers:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_readers_of_the_database_do_not_wait_for_a_writer(server: Server) -> None:
    token = make_token(server)

    with held(server, is_shut_to_readers=False):
        assert ask(server, token=token).status_code == 200


def test_database_that_is_shut_refuses_only_who_needs_it_and_recovers(server: Server) -> None:
    token = make_token(server)
    taken: list[Event] = []

    def read_stream() -> None:
        with server.streaming(prompt='{"tokens": 300, "step_seconds": 0.02}', max_tokens=300) as stream:
            # One by one as they come, for those who count them meanwhile.
            taken.extend(event for event in stream)

    reading = threading.Thread(target=read_stream, daemon=True)
    with held(server, is_shut_to_readers=True), ThreadPoolExecutor(CALLERS) as threads:
        reading.start()
        began_at = time.monotonic()
        refused = [threads.submit(ask, server, token=token) for _ in range(CALLERS)]
        # The token of the settings, the page and the operators' questions need no database.
        others = [ask(server), server.client.get("/"), server.client.get("/healthz"), server.client.get("/pool.json")]
        answers = [answer.result() for answer in refused]
        seconds = time.monotonic() - began_at
        read_while_shut = len(taken)
        playground = server.reader().post(prompt='{"tokens": 1}')

    assert {answer.status_code for answer in others} == {200}
    assert playground.status_code == 201
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["errors"][0]["code"] for answer in answers} == {3040}
    assert all("Storage busy" in answer.text and int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert seconds < LONGEST_SECONDS
    assert read_while_shut > 10
    assert ask(server, token=token).status_code == 200
    reading.join(60)
    assert taken[-1].data == "[DONE]"
    assert len(taken) == 302
