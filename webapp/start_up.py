"""What a start tells its user: progress, then the address, a token and a command to paste.

Asks the pool and the web as any client would. Runs a little in each turn of the supervisor, and never waits.
"""

import contextlib
import http.client
import os
import secrets
import subprocess
import sys
import time

import msgspec
import zmq

from webapp.catalog import Catalog, CatalogEntry, ModelNotInstalled
from webapp.machine import read_catalog_here
from webapp.settings import PROJECT_FOLDER, Settings
from webapp.start_plan import plan_lines
from webapp.wire.codec import decode_pool_to_web, encode
from webapp.wire.messages import AskState, EngineState, PoolState

ASK_SECONDS = 0.2
# After this long the lines are printed without waiting for the model any longer.
PATIENCE_SECONDS = 300.0


class StartUpReport:
    """Follows a start to its end, printing as it goes."""

    def __init__(self, settings: Settings) -> None:
        self.is_pool_up = False
        self._settings = settings
        self._catalog = read_catalog_here(settings, os.environ)
        self._started_at = time.monotonic()
        self._ask_due_at = 0.0
        pool = zmq.Context.instance().socket(zmq.DEALER)
        pool.setsockopt(zmq.SNDHWM, 1)
        pool.connect(settings.web_address)
        # None once the report is complete.
        self._socket: zmq.Socket[bytes] | None = pool
        self._state: PoolState | None = None
        self._percent = -1
        self._token: subprocess.Popen[str] | None = None if settings.api_token else _start_making_token()
        print("Jeton starts.", flush=True)
        print(f"Database: {settings.database_title}.", flush=True)
        for line in plan_lines(self._catalog):
            print(line, flush=True)

    def take_turn(self) -> None:
        """Ask, read, print what is new; nothing once the report is complete."""
        if self._socket is None or time.monotonic() < self._ask_due_at:
            return
        self._ask_due_at = time.monotonic() + ASK_SECONDS
        self._ask(self._socket)
        engines = self._engines()
        self._print_progress(engines)
        is_settled = engines is not None and not any(_is_on_its_way(engine) for engine in engines)
        is_late = time.monotonic() - self._started_at > PATIENCE_SECONDS
        if (is_settled or is_late) and self._has_token() and _answers(self._settings):
            self._print_all(engines or [])
            self._socket.close(linger=0)
            self._socket = None

    def _ask(self, socket: zmq.Socket[bytes]) -> None:
        # One question at a time waits for a pool that is not there yet.
        with contextlib.suppress(zmq.Again):
            socket.send(encode(AskState(ask=0)), zmq.NOBLOCK)
        while socket.poll(0):
            for message in decode_pool_to_web(socket.recv()):
                if isinstance(message, PoolState):
                    self._state = message
                    self.is_pool_up = True

    def _engines(self) -> list[EngineState] | None:
        return self._state.engines if self._state else None

    def _print_progress(self, engines: list[EngineState] | None) -> None:
        loading = [engine for engine in engines or [] if engine.state == "loading" and engine.load_fraction > 0]
        if not loading:
            return
        percent = int(10 * min(engine.load_fraction for engine in loading)) * 10
        if percent > self._percent:
            self._percent = percent
            titles = ", ".join(self._catalog.find(engine.model).title for engine in loading)
            print(f"Loading {titles}: {percent} %", flush=True)

    def _has_token(self) -> bool:
        return self._token is None or self._token.poll() is not None

    def _print_all(self, engines: list[EngineState]) -> None:
        for engine in engines:
            entry = self._catalog.find(engine.model)
            if engine.error:
                print(f"{entry.title} cannot be loaded: {engine.error}")
            elif engine.state in ("idle", "busy"):
                print(f"{entry.title} is loaded: {engine.device}, {engine.precision}.")
        for entry in self._catalog.entries:
            if not entry.is_installed:
                print(_missing_line(self._catalog, entry))
            elif not entry.is_loaded_at_start:
                # Of the others the lines above and below say what has become of them.
                print(self._catalog.obstacle(entry) or f"{entry.title} loads at its first use.")
        print(self._instructions(), flush=True)

    def _instructions(self) -> str:
        address = _address(self._settings)
        account = account_id(self._settings)
        token = "$JETON_API_TOKEN" if self._token is None else _made_token(self._token)
        model = next((entry.name for entry in self._catalog.entries if entry.stand_in), self._catalog.entries[0].name)
        body = '{ "prompt": "where is new york?", "stream": true }'
        seconds = f"{time.monotonic() - self._started_at:.1f} seconds"
        obstacles = " ".join(self._catalog.start_obstacles)
        readiness = f"is not ready: {obstacles}" if obstacles else f"is ready after {seconds}."
        return f"""
Jeton {readiness}

  Open       {address}
  Account    {account}
  API token  {token}

In another terminal:

  curl -N -X POST "{address}/client/v4/accounts/{account}/ai/run/{model}" \\
    -H "Authorization: Bearer {token}" -H "Content-Type:application/json" \\
    -d '{body}'

Ctrl+C stops it.
"""


def account_id(settings: Settings) -> str:
    """The account's name in addresses, made at the first start. It is no secret: any will do in a request."""
    path = settings.data_dir / "account-id"
    if not path.exists():
        path.write_text(secrets.token_hex(16), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def _start_making_token() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "create-token", "--start-up"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_FOLDER, env=dict(os.environ))


def _made_token(process: subprocess.Popen[str]) -> str:
    # Its status may have gone to whoever reaps orphans; without a token there is no output.
    output = process.communicate()[0].strip()
    return output or "(none could be made: see the lines above)"


def _is_on_its_way(engine: EngineState) -> bool:
    return engine.state in ("starting", "loading", "lost") and not engine.error


def _missing_line(catalog: Catalog, entry: CatalogEntry) -> str:
    try:
        return f"{entry.name} is not installed: {catalog.serving(entry).title} stands in (STAND_IN=off to refuse)."
    except ModelNotInstalled as error:
        return str(error)


def _address(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _answers(settings: Settings) -> bool:
    connection = http.client.HTTPConnection(_address(settings).removeprefix("http://"), timeout=0.5)
    try:
        connection.request("GET", "/healthz")
        return msgspec.json.decode(connection.getresponse().read()) == {"status": "ok"}
    except (OSError, http.client.HTTPException, msgspec.MsgspecError):
        return False
    finally:
        connection.close()
