"""What a load balancer sees of an engine that is dead, or hangs: /readyz says so, and says when it is over."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, make_server, wait_until

# Loading takes long enough for any balancer to see it.
MODELS = """
[[model]]
name = "@jeton/scripted"
title = "Scripted"
description = "Takes a while to load."
weights = { scripted = true, load_seconds = 1.5 }
precision = "scripted"
context_window = 4096
sequence_length = 2560
slots = 4
is_loaded_at_start = true
"""


@pytest.fixture(scope="module")
def slow_to_load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("slow")
    (folder / "models.toml").write_text(MODELS)
    server = make_server(folder, models_file=folder / "models.toml")
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hangs"])
def test_readyz_says_that_an_engine_is_gone_until_another_has_made_a_token(slow_to_load: Server, number: int):
    slow_to_load.wait_until_ready()
    pid = slow_to_load.engine("@jeton/scripted")["pid"]

    os.kill(pid, number)

    wait_until(lambda: slow_to_load.readiness().status_code == 503, 15)
    (reason,) = slow_to_load.readiness().json()["reasons"]
    assert reason.startswith("@jeton/scripted: ")
    # The web process itself is well, and nobody has to restart it.
    assert slow_to_load.client.get("/healthz").status_code == 200
    slow_to_load.wait_until_ready()
    assert slow_to_load.engine("@jeton/scripted")["pid"] != pid
    assert not Path(f"/proc/{pid}").exists()
