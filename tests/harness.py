"""A real Jeton in a folder of its own, for tests: started, asked, wounded, stopped."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
SCRIPTED_MODELS = PROJECT_FOLDER / "tests" / "models.toml"
TOKEN = "a-token-for-tests"
START_SECONDS = 150.0


@dataclass
class Event:
    """One server-sent event, with the moment it was read."""

    event_id: str | None
    name: str
    data: str
    at: float

    @property
    def json(self) -> dict:
        return json.loads(self.data)


@dataclass
class Server:
    """A running `python -m webapp serve`."""

    data_dir: Path
    port: int
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=60.0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return (self.data_dir / "output.log").read_text("utf-8")

    def start(self, *, is_ready_at_end: bool = True) -> None:
        with (self.data_dir / "output.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "webapp", "serve"],
                cwd=PROJECT_FOLDER,
                env=self.environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if is_ready_at_end:
            self.wait_until_ready()

    def restart(self) -> None:
        """Start it again, after `stop`, with the same folder and port."""
        self.client = httpx.Client(base_url=self.url, timeout=60.0)
        self.start()

    def audit(self) -> subprocess.CompletedProcess[str]:
        """What `python -m webapp audit` says."""
        command = [sys.executable, "-m", "webapp", "audit"]
        return subprocess.run(command, cwd=PROJECT_FOLDER, env=self.environ, capture_output=True, text=True)

    def readiness(self) -> httpx.Response:
        """What /readyz says; also while nothing listens yet."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10.0)
        except httpx.HTTPError as error:
            return httpx.Response(503, text=str(error))

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        wait_until(self._is_ready, seconds, lambda: f"not ready:\n{self.output}")

    def _is_ready(self) -> bool:
        assert self.process is None or self.process.poll() is None, self.output
        return self.readiness().status_code == 200

    def stop(self) -> None:
        self.client.close()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(25)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise

    def state(self) -> dict:
        return self.client.get("/pool.json").json()

    def processes(self, role: str) -> list[dict]:
        return [process for process in self.state()["processes"] if process["role"] == role]

    def engine(self, model: str) -> dict:
        return next(process for process in self.processes("engine") if process["model"] == model)

    def engine_state(self, model: str) -> str | None:
        """The state of the model's engine; None where it has had none yet."""
        return next((process["state"] for process in self.processes("engine") if process["model"] == model), None)

    def kill(self, role: str) -> int:
        """SIGKILL to the first process of this role; its pid."""
        pid = self.processes(role)[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    # --- the API ---

    def run(self, model: str = "@jeton/scripted", *, token: str | None = TOKEN, **body: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.client.post(f"/client/v4/accounts/acc/ai/run/{model}", headers=headers, json=body)

    @contextmanager
    def streaming(self, model: str = "@jeton/scripted", **body: object) -> Iterator[Iterator[Event]]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        path = f"/client/v4/accounts/acc/ai/run/{model}"
        with self.client.stream("POST", path, headers=headers, json=body | {"stream": True}) as response:
            assert response.status_code == 200, response.read()
            yield events(response)

    # --- the playground ---

    def reader(self) -> "Reader":
        return Reader(self)


class Reader:
    """A browser's session with the playground, without a browser."""

    def __init__(self, server: Server, *, client: httpx.Client | None = None) -> None:
        self.client = client or httpx.Client(base_url=server.url, timeout=30.0)
        page = self.client.get("/")
        assert page.status_code == 200
        found = re.search(r'name="csrf[_-]token"[^>]*(?:value|content)="([^"]+)"', page.text)
        assert found, page.text
        self.csrf_token = found[1]

    def post(self, *, fragment: bool = True, **fields: object) -> httpx.Response:
        headers = {"HX-Request": "true"} if fragment else {}
        form = {"model": "@jeton/scripted", "csrf_token": self.csrf_token} | fields
        return self.client.post("/generations", data=form, headers=headers)

    def submit(self, **fields: object) -> str:
        """The events URL of a new generation."""
        response = self.post(**fields)
        assert response.status_code == 201, response.text
        found = re.search(r'<token-stream[^>]*\bsrc="([^"]+)"', response.text)
        assert found, response.text
        return found[1]

    @contextmanager
    def attached(self, url: str, *, after: int | None = None) -> Iterator[Iterator[Event]]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        with self.client.stream("GET", url, headers=headers) as response:
            assert response.status_code == 200, response.read()
            yield events(response)

    def abort(self, url: str) -> httpx.Response:
        path = url.replace("/events", "/abort")
        return self.client.post(path, headers={"X-CSRFToken": self.csrf_token})

    def read_to_end(self, url: str, *, reconnects: int = 20) -> list[Event]:
        """All numbered events, reconnecting as a browser does when the connection breaks."""
        taken: list[Event] = []
        for _ in range(reconnects):
            try:
                with self.attached(url, after=int(taken[-1].event_id or 0) if taken else None) as stream:
                    for event in stream:
                        if event.event_id:
                            taken.append(event)
                        if event.data == "[DONE]":
                            return taken
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"no end after {reconnects} connections; {len(taken)} events")


def script(**fields: object) -> str:
    """A prompt that tells the scripted engine what to do."""
    return json.dumps(fields)


def events(response: httpx.Response) -> Iterator[Event]:
    """The events of a stream, by the rules of the HTML standard; comments and retry are left out."""
    event_id: str | None = None
    name, data = "message", []
    for line in response.iter_lines():
        if line == "":
            if data:
                yield Event(event_id, name, "\n".join(data), time.monotonic())
            event_id, name, data = None, "message", []
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "data":
            data.append(value)
        elif key == "id":
            event_id = value
        elif key == "event":
            name = value


def text_of(taken: list[Event]) -> str:
    """The text of all message events before the end."""
    return "".join(e.json["response"] for e in taken if e.name == "message" and e.data != "[DONE]")


def wait_until(condition: Callable[[], bool], seconds: float, message: Callable[[], str] = lambda: "") -> float:
    """How long it took, in seconds, until the condition held."""
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at < seconds, message() or f"not within {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - started_at


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_server(data_dir: Path, *, models_file: Path | None = SCRIPTED_MODELS, **settings: str) -> Server:
    """A server that is not yet started. With `models_file` None, the shipped catalogue."""
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("JETON_")}
    if cache := os.environ.get("JETON_CACHE_DIR"):
        environ["JETON_CACHE_DIR"] = cache
    environ |= {"PORT": str(port), "JETON_DATA_DIR": str(data_dir), "JETON_API_TOKEN": TOKEN}
    # The same on a machine with a GPU.
    environ["JETON_DEVICE"] = "cpu"
    if models_file:
        environ["JETON_MODELS_FILE"] = str(models_file)
    return Server(data_dir, port, environ | settings)
