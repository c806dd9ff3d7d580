"""Callers of a server: by an address, with a token, in bytes of their own."""

import hashlib
import itertools
import secrets
import socket
import sqlite3
import time
from dataclasses import dataclass

import httpx

from tests.harness import TOKEN, Server

OPERATOR_TOKEN = "an-operator-token-for-tests"
RUN = "/client/v4/accounts/acc/ai/run/@jeton/scripted"
_addresses = (f"203.0.113.{number}" for number in itertools.count(1))


def new_address() -> str:
    """An address that no other test has, from the block for documentation (RFC 5737)."""
    return next(_addresses)


def make_token(server: Server) -> str:
    """A new API token in the server's database, as `flask create-token` makes them."""
    token = secrets.token_urlsafe(32)
    token_hash = hashlib.sha256(token.encode()).hexdigest()
    with sqlite3.connect(server.data_dir / "jeton.sqlite3") as database:
        database.execute(
            "insert into api_token (name, token_hash, created_at) values ('test', ?, datetime('now'))", (token_hash,)
        )
    database.close()
    return token


def ask(
    server: Server, *, token: str = TOKEN, address: str | None = None, prompt: str = "hi", timeout: float = 60.0
) -> httpx.Response:
    """A short generation by the API, on a connection of its own."""
    headers = {"Authorization": f"Bearer {token}"} | ({"X-Forwarded-For": address} if address else {})
    body = {"prompt": prompt, "max_tokens": 1}
    return httpx.post(server.url + RUN, headers=headers, json=body, timeout=timeout)


@dataclass
class RawAnswer:
    """All that a server wrote until it closed the connection, and how long that took, in seconds."""

    data: bytes
    seconds: float

    @property
    def status(self) -> int:
        """The first answer's."""
        return int(self.data.split(b" ", 2)[1])

    @property
    def count(self) -> int:
        """How many answers there are."""
        return self.data.count(b"HTTP/1.1 ") + self.data.count(b"HTTP/1.0 ")


def send_raw(
    server: Server, data: bytes, *, then: bytes = b"", is_cut_off: bool = False, longest: float = 20.0
) -> RawAnswer:
    """Send these bytes, and `then` again and again, until the server closes.

    With `is_cut_off` the client sends nothing more, and says so, as one that crashes.
    """
    began_at = time.monotonic()
    received = b""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(data)
        if is_cut_off:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(0.2)
        while (seconds := time.monotonic() - began_at) < longest:
            try:
                block = connection.recv(65536)
                if not block:
                    return RawAnswer(received, seconds)
                received += block
            except TimeoutError:
                try:
                    connection.sendall(then)
                except OSError:
                    return RawAnswer(received, seconds)
            except ConnectionResetError:
                return RawAnswer(received, seconds)
    raise AssertionError(f"still open after {longest} s: {received[:200]!r}")
