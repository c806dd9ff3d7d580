"""The two services: valid units, and commands that work without the supervisor."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.units import INSTALLED_IN, POOL, PYTHON, UNITS, WEB, command_of, settings_of
from tests.harness import PROJECT_FOLDER, Server, make_server, text_of, wait_until
from tests.test_docs import setting_names

ANALYZE = shutil.which("systemd-analyze")
# As the libraries read them.
OTHER_SETTINGS = {"HF_HOME"}


def test_units_start_what_the_supervisor_starts_and_know_the_settings():
    assert command_of(POOL) == [PYTHON, "-m", "webapp", "pool"]
    assert command_of(WEB) == [PYTHON, "-m", "gunicorn", "wsgi:app"]
    for unit in (POOL, WEB):
        (environment,) = settings_of(unit)["Environment"]
        assert {word.partition("=")[0] for word in environment.split()} <= setting_names() | OTHER_SETTINGS
    assert settings_of(POOL)["Environment"] == settings_of(WEB)["Environment"]


def test_engines_outlive_a_pool_that_crashed_and_a_web_reload_is_a_hang_up():
    assert settings_of(POOL)["KillMode"] == ["process"]
    assert settings_of(POOL)["OOMPolicy"] == ["continue"]
    assert settings_of(WEB)["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    # To stop the pool stops no stream before it has drained: the web goes first, and never because of the pool.
    assert "jeton-pool.service" in settings_of(WEB)["After"][0]
    assert not {"Requires", "BindsTo"} & set(settings_of(WEB))


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze on this machine")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path):
    for unit in UNITS:
        text = unit.read_text("utf-8").replace(PYTHON, sys.executable).replace(INSTALLED_IN, str(PROJECT_FOLDER))
        (tmp_path / unit.name).write_text(text)

    done = subprocess.run(
        [ANALYZE, "verify", *(tmp_path / unit.name for unit in UNITS)], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- for real, without systemd ---


class Services:
    """The units' commands, started and killed by hand."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, unit: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, *command_of(unit)[1:]]
        with (self.server.data_dir / "output.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=PROJECT_FOLDER, env=self.server.environ, stdout=log, stderr=subprocess.STDOUT
            )
        self._running.append(process)
        return process

    def stop(self) -> list[int]:
        """SIGTERM, the last one started first; how each ended."""
        for process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(25)
        return [process.returncode for process in self._running]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = Services(make_server(tmp_path))
    yield services
    services.stop()


def test_pool_that_is_killed_and_started_by_hand_adopts_its_engine_and_a_stop_leaves_nothing(services: Services):
    server = services.server
    services.start(WEB)
    pool = services.start(POOL)
    server.wait_until_ready()
    engine = server.engine("@jeton/scripted")["pid"]
    reader = server.reader()
    url = reader.submit(prompt='{"tokens": 60, "step_seconds": 0.02}')

    with reader.attached(url) as stream:
        next(event for event in stream if event.event_id)
        pool.kill()
        pool.wait()
    services.start(POOL)
    taken = reader.read_to_end(url)

    assert [event.event_id for event in taken] == [str(number) for number in range(1, len(taken) + 1)]
    assert taken[-1].data == "[DONE]"
    assert text_of(taken)
    server.wait_until_ready()
    assert server.engine("@jeton/scripted")["pid"] == engine
    for client in (reader.client, server.client):
        # gunicorn waits for connections that are kept alive.
        client.close()
    assert services.stop() == [0, -signal.SIGKILL, 0]
    wait_until(lambda: not Path(f"/proc/{engine}").exists(), 10)
