"""The pool process: sockets, one poll loop, the clock. All decisions are the dispatcher's."""

import fcntl
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

import msgspec
import zmq

from webapp.machine import read_catalog_here
from webapp.pool.dispatcher import Dispatcher
from webapp.pool.engine_processes import EngineProcesses
from webapp.pool.journal import Journal
from webapp.pool.journal_clock import JournalClock
from webapp.pool.recording import Recording
from webapp.pool.remote_door import RemoteDoor
from webapp.pool.roster import Roster
from webapp.pool.waiting_line import WaitingLine
from webapp.processes import SUPERVISOR_VARIABLE, end_with_parent
from webapp.settings import SettingInvalid, Settings
from webapp.start_plan import plan_lines
from webapp.wire.codec import decode_engine_to_pool, decode_web_to_pool, encode
from webapp.wire.messages import REMOTE_PREFIX, EngineStop

log = logging.getLogger(__name__)

T = TypeVar("T")

# The longest wait of one turn, and so how late a timer can be.
TURN_MILLISECONDS = 100
TIMER_SECONDS = 0.25
PING_SECONDS = 0.5
# Most messages read from one socket in one turn, so that neither side starves the other.
MOST_READ = 1000
# Engines of an earlier pool have this long to say hello before new ones are started in their place.
ADOPTION_SECONDS = 0.7
# A turn that took this long was a pause of the pool's own: whoever spoke meanwhile has not been heard.
PAUSE_SECONDS = 1.0
# Messages that may wait for one peer; one that is further behind is dropped and attaches anew.
HIGH_WATER_MARK = 10_000


class Pool:
    """The sockets and the loop around a dispatcher."""

    def __init__(self, settings: Settings) -> None:
        catalog = read_catalog_here(settings, os.environ)
        # A supervisor has printed it.
        if SUPERVISOR_VARIABLE not in os.environ:
            for line in plan_lines(catalog):
                log.info(line)
        self._roster = Roster(catalog)
        for entry in catalog.at_start:
            self._roster.ensure(entry)
        self._processes = EngineProcesses()
        line = WaitingLine(queue_length=settings.queue_length, client_limit=settings.client_limit)
        self._journal = Journal(settings.journal_dir)
        self._lock = _lock_folder(settings.journal_dir)
        self._dispatcher = Dispatcher(
            catalog,
            self._roster,
            line,
            epoch=secrets.token_hex(8),
            processes=self._processes,
            journal=self._journal,
            idle_unload_seconds=settings.idle_unload_seconds,
            queue_seconds=settings.queue_seconds,
            generation_seconds=settings.generation_seconds,
        )
        self._recover()
        self._context = zmq.Context()
        self._web = self._bind(settings.web_address)
        self._engines = self._bind(settings.engine_address)
        self._door = RemoteDoor(self._context, settings.keys_dir) if settings.join_address else None
        self._remote_engines = self._bind(settings.join_address, self._door) if settings.join_address else None
        self._has_to_stop = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then stop the engines."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        started_at = time.monotonic()
        next_timer = next_ping = turned_at = started_at
        while not self._has_to_stop:
            self._read(self._poll())
            now = time.monotonic()
            if now - turned_at > PAUSE_SECONDS:
                self._dispatcher.excuse_silence(now)
            turned_at = now
            if now >= next_timer:
                next_timer = now + TIMER_SECONDS
                self._dispatcher.pass_time(now)
            if now - started_at > ADOPTION_SECONDS:
                self._start_engines(now)
            if now >= next_ping:
                next_ping = now + PING_SECONDS
                self._ping_engines()
            self._flush()
        self._stop_engines()
        self._journal.close()

    def _recover(self) -> None:
        """Take over what an earlier pool has left in the journal."""
        now = time.monotonic()
        recording, clock = Recording(), JournalClock()
        for record in self._journal.recover():
            recording.take(record, clock.read(record))
        recording.move(clock.behind(now, boot_id=self._journal.boot_id))
        for problem in recording.problems:
            log.error("the journal: %s", problem)
        self._dispatcher.restore(recording.generations.values(), now)
        self._journal.start(now)
        if recording.generations:
            log.info(
                "the journal has %d generations, of which %d go on",
                len(recording.generations),
                len(recording.unended()),
            )

    def _stop(self, signal_number: int, frame: FrameType | None) -> None:
        self._has_to_stop = True

    def _bind(self, address: str, door: RemoteDoor | None = None) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.ROUTER)
        if door:
            door.guard(socket)
            # An engine that comes back from a broken connection takes the place of what is left of it.
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        # Without it a message to a peer that is gone or full is dropped in silence.
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.LINGER, 500)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            name = "JETON_JOIN_ADDRESS" if door else "JETON_DATA_DIR"
            raise SettingInvalid(name, f"leads to {address}, which cannot be taken: {error}") from error
        return socket

    def _poll(self) -> dict[object, int]:
        poller = zmq.Poller()
        poller.register(self._web, zmq.POLLIN)
        for engines in self._engine_sockets():
            poller.register(engines, zmq.POLLIN)
        for pidfd in self._processes.pidfds:
            poller.register(pidfd, zmq.POLLIN)
        return dict(poller.poll(TURN_MILLISECONDS))

    def _read(self, ready: dict[object, int]) -> None:
        now = time.monotonic()
        # Engines first: what a lost engine still said comes before its loss.
        for socket in self._engine_sockets():
            for identity, frame in _received(socket) if socket in ready else ():
                engine_id = identity.decode("utf-8", "replace")
                # Nobody on another machine speaks for an engine of this one.
                if self._socket_of(engine_id) is not socket:
                    continue
                if (message := _decoded(decode_engine_to_pool, frame)) is not None:
                    self._dispatcher.from_engine(engine_id, message, now)
        if self._web in ready:
            for reader, frame in _received(self._web):
                if (message := _decoded(decode_web_to_pool, frame)) is not None:
                    self._dispatcher.from_web(reader, message, now)
        for pidfd in self._processes.pidfds:
            if pidfd in ready and (engine := self._processes.take_ended(pidfd)):
                self._dispatcher.lose_engine(engine, now)

    def _engine_sockets(self) -> list[zmq.Socket[bytes]]:
        return [self._engines, self._remote_engines] if self._remote_engines else [self._engines]

    def _socket_of(self, engine_id: str) -> zmq.Socket[bytes]:
        is_remote = engine_id.startswith(REMOTE_PREFIX)
        return self._remote_engines if is_remote and self._remote_engines else self._engines

    def _start_engines(self, now: float) -> None:
        for engine in self._dispatcher.engines_to_start(now):
            if not self._processes.start(engine, now):
                self._dispatcher.lose_engine(engine, now)

    def _ping_engines(self) -> None:
        for engine in self._roster:
            if engine.is_connected:
                self._dispatcher.ping_engine(engine)

    def _flush(self) -> None:
        """Keep what the turn has made, then send it: to each web process one message."""
        # To lose a web process makes messages for others: they go out with the next turn.
        turn = self._dispatcher.outbox.take()
        now = time.monotonic()
        # First of all: what anybody has seen is in the journal.
        self._journal.append(turn.rows, now)
        if turn.forgotten:
            self._journal.forget(turn.forgotten, now)
        for reader, messages in turn.to_web.items():
            try:
                self._web.send_multipart([reader, encode(messages)], zmq.NOBLOCK)
            except zmq.ZMQError:
                self._dispatcher.lose_web_process(reader, now)
        for engine_id, message in turn.to_engines:
            try:
                self._socket_of(engine_id).send_multipart([engine_id.encode(), encode(message)], zmq.NOBLOCK)
            except zmq.ZMQError as error:
                # Its end may only not have been noticed yet. What it was to run would wait for ever.
                engine = self._roster.find(engine_id)
                if engine and not engine.error:
                    engine.error = f"it does not take messages: {error}"
                    log.warning("engine %s: %s", engine_id, engine.error)
                    self._dispatcher.give_up(engine, now)

    def _stop_engines(self) -> None:
        for engine in self._roster:
            # One on another machine waits for the next pool.
            if not engine.is_started or engine.is_remote:
                continue
            try:
                self._engines.send_multipart([engine.engine_id.encode(), encode(EngineStop())], zmq.NOBLOCK)
            except zmq.ZMQError:
                # It has not connected yet, or is gone already.
                self._processes.kill(engine)
        self._processes.wait_until_ended()
        if self._door:
            self._door.close()
        self._context.destroy()


def _lock_folder(folder: Path) -> int:
    """A descriptor that keeps other pools away for as long as this process lives. Raises SettingInvalid."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SettingInvalid("JETON_DATA_DIR", f"names a folder that another pool uses: {folder.parent}") from None
    return descriptor


def _received(socket: zmq.Socket[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The messages that wait, as pairs of peer and frame, at most MOST_READ."""
    for _ in range(MOST_READ):
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        if len(frames) == 2:
            yield frames[0], frames[1]
        else:
            log.error("a message of %d frames is left out", len(frames))


def _decoded(decode: Callable[[bytes], T], frame: bytes) -> T | None:
    try:
        return decode(frame)
    except msgspec.MsgspecError as error:
        log.error("a message cannot be read: %s", error)
        return None


def main(settings: Settings) -> None:
    """The entry of `python -m webapp pool`."""
    end_with_parent()
    Pool(settings).run()
