"""Two CUDA devices, stated by hand, and scripted engines on them: over a real server."""

import subprocess
import sys
import threading

import httpx
import pytest

from tests.harness import PROJECT_FOLDER, Server, make_server, wait_until

DEVICES = "NVIDIA H200: 5 GB, NVIDIA L4: 4 GB"
MODELS = """
[[model]]
name = "@jeton/both"
title = "Both"
description = "On every device, from the start."
weights = { scripted = true }
precision = "scripted"
context_window = 4096
sequence_length = 2560
slots = 2
memory = "1 GB"
is_loaded_at_start = true

[[model]]
name = "@jeton/first-use"
title = "First use"
description = "Where there is most room, and on both where more come."
weights = { scripted = true }
precision = "scripted"
context_window = 4096
sequence_length = 2560
slots = 1
memory = "2 GB"

[[model]]
name = "@jeton/processor"
title = "Processor"
description = "On no device."
weights = { scripted = true }
precision = "scripted"
context_window = 4096
sequence_length = 2560
slots = 1
devices = ["cpu"]

[[model]]
name = "@jeton/large"
title = "Large"
description = "Fits nowhere."
weights = { scripted = true }
precision = "scripted"
context_window = 4096
sequence_length = 2560
slots = 1
memory = "6 GB"
"""
SCRIPT = '{"tokens": 50, "step_seconds": 0.02}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("devices")
    (folder / "models.toml").write_text(MODELS)
    server = make_server(folder, models_file=folder / "models.toml", JETON_CUDA_DEVICES=DEVICES, JETON_DEVICE="auto")
    server.start()
    yield server
    server.stop()


def on(server: Server, model: str) -> dict[str, str]:
    """The states of the model's engines, by device."""
    return {each["device"]: each["state"] for each in server.processes("engine") if each["model"] == model}


def test_start_says_what_goes_where(server: Server) -> None:
    wait_until(lambda: "Ctrl+C stops it." in server.output, 60)

    plan, _, loaded = server.output.partition("Both is loaded")
    assert "cuda:0: NVIDIA H200, 5.0 GB, of which models may take 4.5 GB." in plan
    assert "cuda:1: NVIDIA L4, 4.0 GB, of which models may take 3.6 GB." in plan
    assert "Loads now: Both on cuda:0 (2 slots, 1.0 GB), on cuda:1 (2 slots, 1.0 GB)." in plan
    assert "Loads at first use: First use on cuda:0 (1 slot, 2.0 GB), on cuda:1 (1 slot, 2.0 GB)." in plan
    assert "Loads at first use: Processor on cpu (1 slot, 60 MB)." in plan
    assert "@jeton/large needs about 6.0 GB of a CUDA device's memory" in loaded


def test_models_run_on_the_devices_they_were_given(server: Server) -> None:
    assert on(server, "@jeton/both") == {"cuda:0": "idle", "cuda:1": "idle"}
    server.run("@jeton/processor", prompt="hi", max_tokens=1)
    # A scripted engine says "none" where it is on no device.
    assert on(server, "@jeton/processor") == {"none": "idle"}

    threads = [threading.Thread(target=server.run, args=("@jeton/first-use",), kwargs={"prompt": SCRIPT})]
    threads[0].start()
    wait_until(lambda: on(server, "@jeton/first-use").get("cuda:0") == "busy", 30, lambda: server.output)
    assert on(server, "@jeton/first-use") == {"cuda:0": "busy", "cuda:1": "cold"}
    threads.append(threading.Thread(target=server.run, args=("@jeton/first-use",), kwargs={"prompt": SCRIPT}))
    threads[1].start()
    wait_until(lambda: on(server, "@jeton/first-use").get("cuda:1") != "cold", 30, lambda: server.output)
    for thread in threads:
        thread.join()


def test_operators_see_each_devices_memory_and_the_page_where_a_model_is_loaded(server: Server) -> None:
    state = server.state()
    metrics = server.client.get("/metrics").text

    assert [(each["device"], each["title"], each["budget_bytes"]) for each in state["devices"]] == [
        ("cuda:0", "NVIDIA H200", 45 * 10**8),
        ("cuda:1", "NVIDIA L4", 36 * 10**8),
    ]
    assert all(each["taken_bytes"] <= each["budget_bytes"] for each in state["devices"])
    assert 0 < state["memory_taken"] <= state["memory_budget"]
    assert 'jeton_memory_budget_bytes{device="cuda:1"} 3.6e+09' in metrics
    assert 'jeton_engine_info{device="cuda:1",model="@jeton/both",post="2",precision="scripted"} 1.0' in metrics
    assert "Loaded on cuda:0, cuda:1" in server.client.get("/").text


def test_next_pool_adopts_each_engine_on_its_own_device(server: Server) -> None:
    def pids() -> dict[str, int]:
        engines = [each for each in server.processes("engine") if each["model"] == "@jeton/both"]
        return {each["device"]: each["pid"] for each in engines if each["pid"]}

    before = pids()
    killed = server.kill("pool")
    wait_until(lambda: _pool_pid(server) not in (None, killed), 60)
    server.wait_until_ready()

    assert len(before) == 2
    wait_until(lambda: pids() == before, 30, lambda: server.output)


def test_model_that_fits_on_no_device_is_refused_with_the_reason(server: Server) -> None:
    answer = server.run("@jeton/large", prompt="hi")

    assert answer.status_code == 503
    assert "of cuda:0 it may take 4.5 GB, of which other models keep 1.0 GB" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"JETON_CUDA_DEVICES": "NVIDIA L4: 4 GB"}, "of cuda:0 it may take 3.6 GB (memory_share"),
        ({"JETON_CUDA_DEVICES": "none", "JETON_DEVICE": "cuda"}, "@jeton/large is to run on cuda, which is not among"),
    ],
    ids=["too small", "none"],
)
def test_engine_that_has_no_room_on_its_machine_does_not_join(
    server: Server, settings: dict[str, str], reason: str
) -> None:
    where = ["--pool", "tcp://127.0.0.1:1", "--keys", "."]
    joined = subprocess.run(
        [sys.executable, "-m", "webapp", "join", "--model", "@jeton/large", *where],
        cwd=PROJECT_FOLDER,
        env=server.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (joined.returncode, reason in joined.stderr) == (2, True)
    assert "Traceback" not in joined.stderr


def _pool_pid(server: Server) -> int | None:
    try:
        return server.processes("pool")[0]["pid"]
    except (httpx.HTTPError, KeyError):
        return None
