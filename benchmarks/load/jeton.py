"""Jeton under load: as shipped, with a scripted model. Generations are submitted through the playground's form."""

import http.client
import re
import sys
import time
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.contenders.contender import ContenderFailed, Program, free_port, wait_for
from benchmarks.load.plan import MODEL, Schedule
from benchmarks.load.reader import Source
from benchmarks.load.server import LoadServer, write_catalog

# Submissions on their way at once.
_SUBMITTERS = 4


class JetonProgram(Program):
    """`python -m webapp serve` with a data folder of its own."""

    def __init__(self, processes: int) -> None:
        super().__init__("jeton")
        self.port = free_port()
        self._processes = processes

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "webapp", "serve"]

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PORT": str(self.port),
            "HOST": "127.0.0.1",
            "JETON_DATA_DIR": str(self.folder / "data"),
            "JETON_MODELS_FILE": str(write_catalog(self.folder, engines=self._processes)),
            "JETON_WEB_PROCESSES": str(self._processes),
            # All streams are one client's.
            "JETON_CLIENT_LIMIT": "100000",
            "JETON_QUEUE_LENGTH": "100000",
            # The first to be submitted waits for its reader until the last has been, too.
            "JETON_GRACE_SECONDS": "3600",
        }

    def wait_until_ready(self) -> None:
        wait_for(f"http://127.0.0.1:{self.port}/readyz", self)


class JetonLoad(LoadServer):
    """gunicorn with so many web processes, the pool, and as many scripted engines."""

    name = "jeton"

    def __init__(self, processes: int) -> None:
        self._serve = JetonProgram(processes)
        self.programs = [self._serve]

    @property
    def ports(self) -> list[int]:
        return [self._serve.port]

    def sources(self, schedules: Sequence[Schedule]) -> list[Source]:
        session = _Session(self._serve.port)
        parts = [schedules[at::_SUBMITTERS] for at in range(_SUBMITTERS)]
        with ThreadPoolExecutor(_SUBMITTERS) as submitters:
            return [source for part in submitters.map(session.submit, parts) for source in part]


class _Session:
    """A browser's session with the playground: one cookie, one CSRF token."""

    def __init__(self, port: int) -> None:
        self._port = port
        page = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        page.request("GET", "/")
        answer = page.getresponse()
        text = answer.read().decode("utf-8")
        page.close()
        self._cookies = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        found = re.search(r'name="csrf[_-]token"[^>]*(?:value|content)="([^"]+)"', text)
        if not found:
            raise ContenderFailed(f"the page has no CSRF token:\n{text[:500]}")
        self._csrf_token = found[1]

    def submit(self, schedules: Sequence[Schedule]) -> list[Source]:
        """Submit these, one after the other, on one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            return [self._submit(connection, schedule) for schedule in schedules]
        finally:
            connection.close()

    def _submit(self, connection: http.client.HTTPConnection, schedule: Schedule) -> Source:
        fields = {
            "model": MODEL,
            "csrf_token": self._csrf_token,
            "prompt": schedule.script(time.monotonic_ns()),
            "max_tokens": str(schedule.tokens),
        }
        headers = {
            "HX-Request": "true",
            "Cookie": self._cookies,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        connection.request("POST", "/generations", urllib.parse.urlencode(fields), headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8")
        found = re.search(r'<token-stream[^>]*\bsrc="([^"]+)"', text)
        if not found:
            raise ContenderFailed(f"a submission was answered with {answer.status}:\n{text[:500]}")
        return Source(self._port, found[1], self._cookies)
