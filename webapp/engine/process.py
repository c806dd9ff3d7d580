"""The engine process: loads one model, then takes turns between the pool's messages and the runner's steps.

All work on tensors happens in this process's main thread. Knows nothing of sockets or of text.
"""

import dataclasses
import logging
import os
import queue
import secrets
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from webapp.catalog import Catalog, CatalogEntry, CatalogError, read_catalog
from webapp.device_search import engine_environ
from webapp.engine.connection import PoolConnection
from webapp.engine.errors import DeviceLost
from webapp.engine.runner import LoadProgress, Runner
from webapp.engine.scripted_embeddings import scripted_embeddings
from webapp.engine.scripted_runner import load_scripted
from webapp.engine.token_counts import TokenCounts
from webapp.engine_keys import EngineKeys, read_engine_keys
from webapp.machine import find_machine
from webapp.placement import Place
from webapp.settings import Settings
from webapp.wire.messages import (
    REMOTE_PREFIX,
    AbortLease,
    CountTokens,
    Dispatch,
    EngineHeartbeat,
    EngineHello,
    EnginePing,
    EngineStop,
    LoadFailed,
    PoolToEngine,
    StepEvents,
)

log = logging.getLogger(__name__)

# A long prompt takes up to 0.4 s to tokenise: running streams should feel one of these in a turn, not many.
LONGEST_START_SECONDS = 0.05

LoadRunner = Callable[[CatalogEntry, LoadProgress], Runner]


class Engine:
    """One model's runner and its line to the pool."""

    def __init__(
        self, entry: CatalogEntry, *, engine_id: str, address: str, device: str = "", keys: EngineKeys | None = None
    ) -> None:
        self._entry = entry
        self._runner: Runner | None = None
        self._load_fraction = 0.0
        # Read by the connection's thread, for the heartbeat.
        self._turn_started_at = time.monotonic()
        self._is_idle = False
        self._leases: tuple[int, ...] = ()
        # Dispatches that were not started yet, by lease.
        self._arrived: dict[int, Dispatch] = {}
        self._token_counts = TokenCounts()
        hello = EngineHello(engine_id=engine_id, pid=os.getpid(), model=entry.name, device=device)
        self._connection = PoolConnection(address, hello, self._heartbeat, keys=keys)

    def run(self, load_runner: LoadRunner) -> None:
        """Load and serve until the pool says stop or is gone."""
        try:
            runner = load_runner(self._entry, self._take_progress)
        except Exception as error:
            # Whatever the libraries raise, the pool must learn why this model does not load.
            log.exception("%s cannot be loaded", self._entry.name)
            self._connection.send(LoadFailed(f"{type(error).__name__}: {error}"))
            self._connection.close()
            raise SystemExit(1) from error
        self._runner = runner
        self._load_fraction = 1.0
        try:
            while self._take_turn(runner):
                pass
        except DeviceLost as lost:
            # The pool sees a crash, and gives what ran here to the next engine.
            log.critical("%s is lost: %s", runner.device, lost)
            raise SystemExit(1) from lost
        finally:
            self._connection.close()

    def _take_turn(self, runner: Runner) -> bool:
        """Take what the pool says, then one step; False at the end."""
        is_idle = not (runner.leases or self._arrived or self._token_counts)
        for message in self._messages(is_idle=is_idle):
            if message is None or isinstance(message, EngineStop):
                return False
            self._take_message(runner, message)
        self._leases = (*runner.leases, *self._arrived)
        self._start_arrived(runner)
        for counted in self._token_counts.answer(runner):
            self._connection.send(counted)
        events = runner.step() if runner.leases else []
        if events:
            self._connection.send(StepEvents(events))
        return True

    def _messages(self, *, is_idle: bool) -> list[PoolToEngine | None]:
        """All that has come in; with nothing to run, waits for the first."""
        self._is_idle = is_idle
        messages = [self._connection.incoming.get()] if is_idle else []
        self._turn_started_at = time.monotonic()
        self._is_idle = False
        while True:
            try:
                messages.append(self._connection.incoming.get_nowait())
            except queue.Empty:
                return messages

    def _take_message(self, runner: Runner, message: PoolToEngine) -> None:
        match message:
            case Dispatch():
                self._arrived[message.lease] = message
            case AbortLease():
                self._drop(runner, message.lease)
            case CountTokens():
                for given_up in self._token_counts.add(message):
                    self._connection.send(given_up)
            case EnginePing():
                for lease in {*runner.leases, *self._arrived} - set(message.leases):
                    self._drop(runner, lease)

    def _start_arrived(self, runner: Runner) -> None:
        """Start those that wait, in order; what does not fit into this turn's time waits for the next."""
        deadline = time.monotonic() + LONGEST_START_SECONDS
        while self._arrived and time.monotonic() < deadline:
            dispatch = self._arrived.pop(next(iter(self._arrived)))
            self._connection.send(StepEvents([runner.start(dispatch)]))

    def _drop(self, runner: Runner, lease: int) -> None:
        if self._arrived.pop(lease, None) is None:
            runner.abort(lease)

    def _take_progress(self, fraction: float) -> None:
        self._turn_started_at = time.monotonic()
        self._load_fraction = fraction

    def _heartbeat(self) -> EngineHeartbeat:
        runner = self._runner
        return EngineHeartbeat(
            load_fraction=self._load_fraction,
            is_ready=runner is not None,
            device=runner.device if runner else "",
            precision=runner.precision if runner else self._entry.precision,
            capacity=runner.capacity if runner else self._entry.slots,
            memory_bytes=runner.memory_bytes if runner else 0,
            turn_age=0.0 if self._is_idle else time.monotonic() - self._turn_started_at,
            leases=self._leases,
        )


def main(settings: Settings, model: str, *, engine_id: str, device: str | None, slots: int | None) -> None:
    """The entry of `python -m webapp engine`, which the pool starts.

    Without a device it is that of the settings, without slots they are the entry's.
    """
    # Ctrl+C in a terminal reaches the whole process group; the pool stops its engines in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    entry = read_catalog(settings.models_file).find(model)
    entry = msgspec.structs.replace(entry, slots=slots or entry.slots)
    engine = Engine(entry, engine_id=engine_id, address=settings.engine_address, device=device or "")
    engine.run(_loader(settings, device or settings.device))


def join(settings: Settings, *, model: str, pool_address: str, keys_folder: Path) -> None:
    """The entry of `python -m webapp join`: an engine of a pool on another machine.

    Raises SettingInvalid, and CatalogError where no device of this machine has room.
    """
    # Before torch is imported: it numbers devices as they are found here.
    os.environ.update(engine_environ(os.environ))
    entry = read_catalog(settings.models_file).find(model)
    place = _place_here(settings, entry)
    entry = msgspec.structs.replace(entry, slots=place.slots)
    keys = read_engine_keys(keys_folder)
    engine_id = f"{REMOTE_PREFIX}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    log.info("engine %s joins %s with %s on %s", engine_id, pool_address, model, place.device)
    Engine(entry, engine_id=engine_id, address=pool_address, keys=keys).run(_loader(settings, place.device))


def _place_here(settings: Settings, entry: CatalogEntry) -> Place:
    """The first place for the entry alone: what else runs on this machine is not known here. Raises CatalogError."""
    machine = dataclasses.replace(find_machine(settings, os.environ), host_budget=None)
    catalog = Catalog([entry], machine=machine)
    places = catalog.places(entry)
    if not places or catalog.obstacle(entry):
        raise CatalogError(catalog.obstacle(entry) or f"{entry.name} has no engine on this machine.")
    return places[0]


def _loader(settings: Settings, device: str) -> LoadRunner:
    def load(entry: CatalogEntry, on_progress: LoadProgress) -> Runner:
        if entry.weights.scripted:
            said = device if device.startswith("cuda:") else "none"
            runner = load_scripted(entry, on_progress, device=said)
            return scripted_embeddings(entry, device=said) if entry.task == "text-embeddings" else runner
        # torch takes seconds to import: the pool has been told hello by now, and a scripted engine needs none.
        from webapp.engine.loader import load_runner

        return load_runner(
            entry,
            cache_dir=settings.cache_dir,
            device=device,
            on_progress=on_progress,
            cuda_graphs=settings.cuda_graphs,
        )

    return load
