"""The peer's line to its engine: the pool's side of the engine's protocol, as little of it as one process needs."""

import asyncio
import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Iterator

import zmq
import zmq.asyncio

from benchmarks.load.plan import MODEL
from webapp.settings import make_folders, read_settings
from webapp.wire.codec import decode_engine_to_pool, encode
from webapp.wire.generation import Delta, Failed, Finished, GenerationRequest
from webapp.wire.messages import (
    AbortLease,
    Dispatch,
    EngineHeartbeat,
    EnginePing,
    PoolToEngine,
    StepEvents,
)

PING_SECONDS = 0.5
_ENGINE_ID = b"peer"

Event = Delta | Finished | Failed


class EngineLine:
    """One engine, and a queue for each generation on it."""

    def __init__(self) -> None:
        self._queues: dict[int, asyncio.Queue[Event]] = {}
        self._leases = itertools.count(1)
        self._is_ready = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the engine, wait until it is ready; stop it at the end."""
        settings = read_settings()
        make_folders(settings)
        self._socket = zmq.asyncio.Context().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.bind(settings.engine_address)
        command = ["-m", "webapp", "engine", "--model", MODEL, "--engine-id", _ENGINE_ID.decode()]
        engine = subprocess.Popen([os.environ["ENGINE_PYTHON"], *command])
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._ping())]
        try:
            await self._is_ready.wait()
            yield
        finally:
            for task in tasks:
                task.cancel()
            engine.terminate()
            engine.wait()

    @contextlib.contextmanager
    def generation(self, prompt: str, *, max_tokens: int) -> Iterator[asyncio.Queue[Event]]:
        """The events of a new generation, which is aborted where its reader leaves before its end."""
        lease = next(self._leases)
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._queues[lease] = queue
        request = GenerationRequest(model=MODEL, context_window=8192, max_tokens=max_tokens, seed=lease, prompt=prompt)
        self._send(Dispatch(generation_id=str(lease), lease=lease, request=request))
        try:
            yield queue
        finally:
            if self._queues.pop(lease, None):
                self._send(AbortLease(str(lease), lease))

    def _send(self, message: PoolToEngine) -> None:
        self._socket.send_multipart([_ENGINE_ID, encode(message)])

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            self._send(EnginePing(tuple(self._queues)))

    async def _read(self) -> None:
        while True:
            _, frame = await self._socket.recv_multipart()
            match decode_engine_to_pool(frame):
                case StepEvents(events=events):
                    for row in events:
                        queue = self._queues.get(row.lease)
                        if queue and isinstance(row.event, Event):
                            queue.put_nowait(row.event)
                case EngineHeartbeat(is_ready=True):
                    self._is_ready.set()
                case _:
                    pass
