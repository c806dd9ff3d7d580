"""A real Jeton that is wounded, and everybody who uses it: its processes by role, its readers, its journal."""

import contextlib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.chaos.processes import connection_count, pids_of, runs, send, tree
from tests.chaos.readers import Readers
from tests.harness import Reader, Server, make_server, wait_until
from webapp.pool.audit import read_generations

WEB_PROCESSES = 2
# Above what any run asks for: a refusal would not be the fault that is looked at.
MOST_GENERATIONS = "5000"
# A generation whose reader is kept away by a fault must not be taken for one that nobody wants.
GRACE_SECONDS = "60"
WHOLE_SECONDS = 60.0
SUBMIT_SECONDS = 60.0
STATE_SECONDS = 3.0
RETRY_SECONDS = 0.05


@dataclass
class Site:
    """One server, and the readers of its streams."""

    server: Server
    readers: Readers
    session: Reader
    engine_count: int
    # How long its start took: what loading the model anew may take.
    start_seconds: float

    # --- what it is asked ---

    def submit(self, form: dict[str, str]) -> tuple[str, str]:
        """The events' address of a new generation, and the cookie that may read it; tries until it is taken."""
        deadline = time.monotonic() + SUBMIT_SECONDS
        while True:
            try:
                path = self.session.submit(**form)
                return path, "; ".join(f"{name}={value}" for name, value in self.session.client.cookies.items())
            except (httpx.HTTPError, AssertionError):
                # A process that answers was just killed. What it may have taken all the same ends by itself.
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_SECONDS)

    def state(self) -> dict | None:
        """What /pool.json says; None while nobody answers."""
        # Each time by a connection of its own: one that was kept may lead to a process that is gone.
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{self.server.url}/pool.json", timeout=STATE_SECONDS)
            return answer.json() if answer.status_code == 200 else None
        return None

    @property
    def supervisor(self) -> int:
        """Its pid."""
        assert self.server.process
        return self.server.process.pid

    def pids(self, role: str) -> list[int]:
        """The processes of this role that run: `pool`, `engine`, `gunicorn` or `web`."""
        return pids_of(self.supervisor, role)

    def busiest_web_process(self) -> list[int]:
        """The pid of the one with most connections; none where none runs."""
        return sorted(self.pids("web"), key=connection_count)[-1:]

    def busiest_engine(self) -> list[int]:
        """The pid of the one with most generations, if anybody can say; none where none runs."""
        processes = (self.state() or {"processes": []})["processes"]
        running = {process["pid"]: process["running"] for process in processes if process["role"] == "engine"}
        return sorted(self.pids("engine"), key=lambda pid: running.get(pid, 0))[-1:]

    @property
    def journal_folder(self) -> Path:
        return self.server.data_dir / "journal"

    def journalled_texts(self) -> dict[str, str]:
        """The text of each generation that the journal knows, by id."""
        return {name: generation.text for name, generation in read_generations(self.journal_folder).items()}

    # --- what is done to it ---

    def stop(self, seconds: float) -> float:
        """Stop everything in order; how long that took."""
        assert self.server.process
        started_at = time.monotonic()
        send([self.supervisor], signal.SIGTERM)
        self.server.process.wait(seconds)
        return time.monotonic() - started_at

    def kill_everything(self) -> None:
        """SIGKILL to all processes, the supervisor first: nothing is restarted, nobody writes a last word."""
        assert self.server.process
        everybody = [self.supervisor, *(process.pid for process in tree(self.supervisor))]
        send(everybody)
        self.server.process.wait()
        wait_until(lambda: not any(runs(pid) for pid in everybody), WHOLE_SECONDS)

    def start_again(self) -> None:
        """Start it where it was stopped; does not wait."""
        self.server.start(is_ready_at_end=False)

    def wait_until_whole(self) -> None:
        """Wait until every process is back and every engine makes tokens."""
        wait_until(self._is_whole, WHOLE_SECONDS, lambda: f"not whole again:\n{self.server.output[-3000:]}")

    def has_all_engines(self) -> bool:
        """Whether every engine is there to take generations, as the pool says."""
        processes = (self.state() or {"processes": []})["processes"]
        return sum(process["state"] in ("idle", "busy") for process in processes) == self.engine_count

    def _is_whole(self) -> bool:
        return len(self.pids("web")) == WEB_PROCESSES and self.server.readiness().status_code == 200


@contextmanager
def running_site(folder: Path, *, models_file: Path | None, **settings: str) -> Iterator[Site]:
    """A server in this folder, stopped at the end, and readers for it. Without `models_file`, the shipped catalogue."""
    server = make_server(
        folder,
        models_file=models_file,
        JETON_CLIENT_LIMIT=MOST_GENERATIONS,
        JETON_QUEUE_LENGTH=MOST_GENERATIONS,
        JETON_GRACE_SECONDS=GRACE_SECONDS,
        JETON_WEB_PROCESSES=str(WEB_PROCESSES),
        **settings,
    )
    started_at = time.monotonic()
    try:
        server.start()
        start_seconds = time.monotonic() - started_at
        engine_count = len(server.processes("engine"))
        session = server.reader()
        with contextlib.closing(session.client), Readers(server.port) as readers:
            yield Site(server, readers, session, engine_count, start_seconds)
    finally:
        server.stop()
