"""Engines on other machines: they join with a key, come and go, and nothing is lost; nobody else gets in.

The way between the two machines is a forwarder on this one, which can be cut and mended.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from tests.harness import PROJECT_FOLDER, Server, free_port, script, text_of, wait_until
from webapp.engine_keys import create_engine_keys
from webapp.wire.codec import encode
from webapp.wire.messages import EngineHello

MODEL = "@jeton/remote"
ENTRY = """
[[model]]
name = "@jeton/remote"
title = "Elsewhere"
description = "Its engines are on other machines."
weights = {{ {weights} }}
precision = "scripted"
context_window = 4096
sequence_length = 2560
slots = 8
"""


class Cable:
    """Forwards TCP connections to a port, until it is cut; then nothing passes, and nothing is closed."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._is_whole = threading.Event()
        self._is_whole.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_whole.clear()

    def mend(self) -> None:
        self._is_whole.set()

    def close(self) -> None:
        self.mend()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._is_whole.wait()
                far = socket.create_connection(("127.0.0.1", self._target_port))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._is_whole.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Site:
    """A pool without engines of its own, and machines that join it."""

    def __init__(self, folder: Path, own_server: Callable[..., Server]) -> None:
        self.folder = folder
        self.port = free_port()
        for name, weights in (("pool", "remote = true"), ("engine", "scripted = true")):
            (folder / f"{name}.toml").write_text(ENTRY.format(weights=weights))
        self.server = own_server(
            JETON_MODELS_FILE=str(folder / "pool.toml"), JETON_JOIN_ADDRESS=f"tcp://127.0.0.1:{self.port}"
        )
        self.cable = Cable(self.port)
        self.engines: list[subprocess.Popen[bytes]] = []

    def add_key(self, name: str) -> Path:
        """A key the pool knows, from its next start on."""
        target = self.folder / f"keys-of-{name}"
        command = [sys.executable, "-m", "webapp", "add-engine", name, "--to", str(target)]
        subprocess.run(command, cwd=PROJECT_FOLDER, env=self.server.environ, check=True)
        return target

    def join(self, keys: Path, port: int | None = None) -> subprocess.Popen[bytes]:
        """Another machine's engine: settings, catalogue and data of its own."""
        environ = self.server.environ | {
            "JETON_MODELS_FILE": str(self.folder / "engine.toml"),
            "JETON_DATA_DIR": str(self.folder / f"machine-{len(self.engines)}"),
        }
        address = f"tcp://127.0.0.1:{port or self.port}"
        command = [sys.executable, "-m", "webapp", "join", "--model", MODEL, "--pool", address, "--keys", str(keys)]
        self.engines.append(subprocess.Popen(command, cwd=PROJECT_FOLDER, env=environ))
        return self.engines[-1]

    def joined(self) -> int:
        """How many engines are ready."""
        return sum(process["state"] in ("idle", "busy") for process in self.server.processes("engine"))

    def close(self) -> None:
        for engine in self.engines:
            engine.kill()
            engine.wait()
        self.cable.close()


@pytest.fixture
def site(tmp_path: Path, own_server: Callable[..., Server]) -> Iterator[Site]:
    site = Site(tmp_path, own_server)
    yield site
    site.close()


def restart_pool(site: Site) -> None:
    """Keys are read at the pool's start, which loses nothing."""
    pid = site.server.kill("pool")
    wait_until(lambda: site.server.processes("pool")[0]["pid"] != pid, 20)


def test_engines_that_are_killed_and_cut_off_lose_nothing(site: Site) -> None:
    refused = site.server.run(MODEL, prompt="hi")
    assert refused.status_code == 503
    assert "No engine" in refused.json()["errors"][0]["message"]
    keys = site.add_key("gpu-1")
    restart_pool(site)
    near, far = site.join(keys), site.join(keys, site.cable.port)
    wait_until(lambda: site.joined() == 2, 20)
    whole = site.server.run(MODEL, prompt=script(tokens=400), max_tokens=500, seed=9).json()["result"]["response"]

    # given: generations on both
    reader = site.server.reader()
    slow = script(tokens=400, step_seconds=0.03)
    urls = [reader.submit(model=MODEL, prompt=slow, max_tokens="500", seed="9") for _ in range(4)]
    wait_until(lambda: [engine["running"] for engine in site.server.processes("engine")] == [2, 2], 10)

    # when: the cable to one is out for longer than the pool waits, and the other is killed once it is back
    site.cable.cut()
    wait_until(lambda: site.joined() == 1, 10)
    time.sleep(1)
    site.cable.mend()
    wait_until(lambda: site.joined() == 2, 10)
    near.send_signal(signal.SIGKILL)

    # then: every text is whole
    for url in urls:
        read = reader.read_to_end(url)
        assert [event.event_id for event in read] == [str(number) for number in range(1, 402)]
        assert text_of(read) == whole
    assert far.poll() is None
    audit = site.server.audit()
    assert audit.returncode == 0, audit.stdout


def test_nobody_gets_in_without_a_key_the_pool_knows(site: Site) -> None:
    # given: a key of another pool, and one that this pool has made since its start
    other = site.folder / "other"
    create_engine_keys(site.folder / "another-pool", "gpu-1", target=other)
    (other / "pool.key").write_bytes((site.server.data_dir / "keys" / "pool.key").read_bytes())
    stranger = site.join(other)
    context = zmq.Context()
    plain = context.socket(zmq.DEALER)
    plain.setsockopt(zmq.LINGER, 0)
    plain.setsockopt(zmq.IDENTITY, b"remote-plain-1")
    plain.connect(f"tcp://127.0.0.1:{site.port}")
    plain.send(encode(EngineHello(engine_id="remote-plain-1", pid=os.getpid(), model=MODEL)))

    # then: neither is ever heard, and nobody hears anything
    for _ in range(10):
        assert site.server.processes("engine") == []
        assert not plain.poll(200)
    assert stranger.poll() is None
    context.destroy()


def test_engine_of_another_machine_comes_back_to_the_next_pool(site: Site) -> None:
    keys = site.add_key("gpu-1")
    restart_pool(site)
    engine = site.join(keys)
    wait_until(lambda: site.joined() == 1, 20)

    restart_pool(site)

    wait_until(lambda: site.joined() == 1, 20)
    assert engine.poll() is None
    assert site.server.run(MODEL, prompt=script(tokens=3), max_tokens=5).status_code == 200
