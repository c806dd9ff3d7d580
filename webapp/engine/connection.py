"""The engine's line to the pool: a thread of its own, so that sockets never share a thread with torch.

Once two threads have run OpenMP work, decode steps get up to 2.7 times slower; this thread runs none.
It also keeps the heartbeat going while the main thread loads or computes.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable

import msgspec
import zmq

from webapp.engine_keys import EngineKeys
from webapp.wire.codec import decode_pool_to_engine, encode
from webapp.wire.messages import AskHello, EngineHeartbeat, EngineHello, EngineToPool, PoolToEngine

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.5
# An engine of the pool's own that has heard none for this long is an orphan nobody wants.
ORPHAN_SECONDS = 15.0
# While a pool on another machine is away, heartbeats wait in the socket until it is back: few do.
LONG_SILENCE_SECONDS = 3.0
SLOW_HEARTBEAT_SECONDS = 5.0
_WAKE_ADDRESS = "inproc://outgoing"


class PoolConnection:
    """Sends from the main thread, receives into a queue, and beats.

    `heartbeat` is called in this connection's thread. With `keys` the pool is on another machine, and may come and
    go; without, the queue ends with None when the pool is gone for good.
    """

    def __init__(
        self,
        address: str,
        hello: EngineHello,
        heartbeat: Callable[[], EngineHeartbeat],
        *,
        keys: EngineKeys | None = None,
    ) -> None:
        self.incoming: queue.SimpleQueue[PoolToEngine | None] = queue.SimpleQueue()
        self._hello = hello
        self._heartbeat = heartbeat
        self._context = zmq.Context()
        self._receiver = self._context.socket(zmq.PULL)
        self._receiver.setsockopt(zmq.RCVHWM, 0)
        self._receiver.bind(_WAKE_ADDRESS)
        self._sender = self._context.socket(zmq.PUSH)
        self._sender.setsockopt(zmq.SNDHWM, 0)
        self._sender.connect(_WAKE_ADDRESS)
        self._pool = self._context.socket(zmq.DEALER)
        self._pool.setsockopt(zmq.IDENTITY, hello.engine_id.encode())
        self._pool.setsockopt(zmq.LINGER, 500)
        # Without a bound: a send that waits for a pool that is gone would never let an orphan end.
        self._pool.setsockopt(zmq.SNDHWM, 0)
        self._pool.setsockopt(zmq.RECONNECT_IVL, 50)
        self._pool.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        if keys:
            self._pool.curve_publickey, self._pool.curve_secretkey = keys.public, keys.secret
            self._pool.curve_serverkey = keys.pool_public
            # A cable that is out is noticed, and the connection made anew when it is in again.
            self._pool.setsockopt(zmq.HEARTBEAT_IVL, 500)
            self._pool.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1500)
        self._is_remote = keys is not None
        self._orphan_seconds = math.inf if keys else ORPHAN_SECONDS
        self._pool.connect(address)
        self._thread = threading.Thread(target=self._run, name="pool-connection", daemon=True)
        self._thread.start()

    def send(self, message: EngineToPool) -> None:
        """Hand a message to the connection's thread. Only the main thread calls it."""
        self._sender.send(encode(message))

    def close(self) -> None:
        """Send what waits, and end the thread."""
        self._sender.send(b"")
        self._thread.join()
        self._sender.close()
        self._context.term()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._receiver, zmq.POLLIN)
        poller.register(self._pool, zmq.POLLIN)
        self._pool.send(encode(self._hello))
        heard_at = time.monotonic()
        beat_due_at = 0.0
        is_open = True
        while is_open:
            now = time.monotonic()
            if now >= beat_due_at:
                is_alone = self._is_remote and now - heard_at > LONG_SILENCE_SECONDS
                beat_due_at = now + (SLOW_HEARTBEAT_SECONDS if is_alone else HEARTBEAT_SECONDS)
                self._pool.send(encode(self._heartbeat()))
            if now - heard_at > self._orphan_seconds:
                log.warning("no pool has spoken for %.0f seconds; ending", self._orphan_seconds)
                self.incoming.put(None)
                heard_at = now
            ready = dict(poller.poll(max(0, int((beat_due_at - now) * 1000))))
            if self._pool in ready:
                heard_at = now
                message = _decoded(self._pool.recv())
                if isinstance(message, AskHello):
                    self._pool.send(encode(self._hello))
                    # The pool learns at once whether this engine is ready.
                    beat_due_at = now
                elif message:
                    self.incoming.put(message)
            if self._receiver in ready:
                frame = self._receiver.recv()
                is_open = bool(frame)
                if frame:
                    self._pool.send(frame)
        self._receiver.close()
        self._pool.close()


def _decoded(frame: bytes) -> PoolToEngine | None:
    try:
        return decode_pool_to_engine(frame)
    except msgspec.MsgspecError as error:
        # As when a new version of the pool meets an engine of another machine.
        log.error("a message of the pool cannot be read: %s", error)
        return None
