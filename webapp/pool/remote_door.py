"""Where engines on other machines knock: a TCP socket that only knows those whose keys are known. No messages."""

from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from webapp.engine_keys import engines_folder, pool_keys

# The largest message of an engine is one step of all it runs; nobody may make the pool hold more.
LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024


class RemoteDoor:
    """Lets in engines whose public key lies in the folder of keys; read once, at the start."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys_dir: Path) -> None:
        self._public, self._secret = pool_keys(keys_dir)
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve(domain="*", location=str(engines_folder(keys_dir)))

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Make the socket, before it is bound, take nobody else."""
        socket.curve_publickey, socket.curve_secretkey = self._public, self._secret
        socket.curve_server = True
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE_BYTES)
        # A machine that is gone says no good-bye.
        socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1500)

    def close(self) -> None:
        self._authenticator.stop()
