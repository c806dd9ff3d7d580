"""Starting and stopping, as whoever runs it sees it."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.harness import PROJECT_FOLDER, SCRIPTED_MODELS, TOKEN, Event, Server, make_server, wait_until


def serve(tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    settings = {"JETON_DATA_DIR": str(tmp_path / "data"), "JETON_MODELS_FILE": str(SCRIPTED_MODELS)} | environ
    return subprocess.run(
        [sys.executable, "-m", "webapp", "serve"],
        cwd=PROJECT_FOLDER,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def wounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose processes are killed and renewed, which each test leaves whole."""
    server = make_server(tmp_path_factory.mktemp("wounded"))
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "99999"),
        ("HOST", "no.such.host.invalid"),
        ("JETON_WEB_PROCESSES", "0"),
        ("STAND_IN", "maybe"),
        ("JETON_DEVICE", "tpu"),
        ("JETON_API_TOKEN", "short"),
        ("JETON_DATA_DIR", "/proc/nowhere"),
        ("JETON_MODELS_FILE", "/nonexistent/models.toml"),
        ("DATABASE_URL", "mysql://jeton:a-secret@db/jeton"),
    ],
)
def test_wrong_setting_stops_the_start_with_a_sentence_that_names_it(tmp_path: Path, name: str, value: str):
    result = serve(tmp_path, **{name: value})

    assert result.returncode == 2
    assert name in result.stderr or value in result.stderr
    assert "Traceback" not in result.stderr
    assert "a-secret" not in result.stderr


def test_taken_port_stops_the_start_with_a_sentence(server: Server, tmp_path: Path):
    result = serve(tmp_path, PORT=str(server.port))

    assert result.returncode == 2
    assert f"The setting PORT is {server.port}, which cannot be taken" in result.stderr


def test_start_prints_address_account_token_and_a_curl_that_works(tmp_path_factory: pytest.TempPathFactory):
    server = make_server(tmp_path_factory.mktemp("fresh"))
    del server.environ["JETON_API_TOKEN"]
    server.start()
    try:
        wait_until(lambda: "Ctrl+C stops it." in server.output, 60)
        curl = re.search(r"curl -N .*?'\n", server.output, re.DOTALL)
        assert curl, server.output
        printed = subprocess.run(curl[0], shell=True, capture_output=True, text=True, timeout=60, check=True).stdout
        wrong = server.run(prompt="hi", token=TOKEN)
    finally:
        server.stop()

    assert printed.startswith('data: {"response":')
    assert printed.endswith("data: [DONE]\n\n")
    assert wrong.status_code == 401
    assert "Scripted stands in" in server.output
    assert "\nModels run on the processor (JETON_DEVICE=cpu).\n" in server.output


def test_start_that_cannot_load_what_it_should_says_so_and_is_not_ready(tmp_path: Path):
    server = make_server(tmp_path, JETON_MEMORY_BUDGET="50 MB")
    server.start(is_ready_at_end=False)
    try:
        wait_until(lambda: "Ctrl+C stops it." in server.output, 60, lambda: server.output)
        readiness = server.readiness()
        answer = server.run(prompt="hi")
    finally:
        server.stop()

    why = "@jeton/scripted needs about 60 MB of memory; the budget of all models is 50 MB (JETON_MEMORY_BUDGET)."
    assert f"Jeton is not ready: {why}" in server.output
    assert "Jeton is ready" not in server.output
    assert (readiness.status_code, readiness.json()["reasons"]) == (503, [why])
    assert answer.status_code == 503
    assert why in answer.json()["errors"][0]["message"]
    assert "Retry-After" not in answer.headers


def test_stop_leaves_no_process_behind(own_server):
    server = own_server()
    pids = [process["pid"] for process in server.state()["processes"]]

    server.stop()

    assert server.process is not None
    assert server.process.returncode == 0
    assert not any(map(runs, pids))


def test_killed_supervisor_takes_everything_with_it(own_server):
    server = own_server()
    pids = [process["pid"] for process in server.state()["processes"]]
    assert server.process is not None

    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()

    wait_until(lambda: not any(map(runs, pids)), 30, lambda: str([pid for pid in pids if runs(pid)]))


def test_killed_processes_come_back(wounded: Server):
    server = wounded
    for role in ("gunicorn", "pool", "engine"):
        killed = server.kill(role)
        wait_until(lambda role=role, killed=killed: is_replaced(server, role, killed), 60)
        server.wait_until_ready(60)
        assert server.run(prompt="hi", max_tokens=2).status_code == 200


def test_reload_renews_the_web_processes_and_keeps_the_engines(wounded: Server):
    server = wounded
    web = {process["pid"] for process in server.processes("web")}
    engine = server.engine("@jeton/scripted")["pid"]
    assert server.process is not None

    server.process.send_signal(signal.SIGHUP)

    wait_until(lambda: not web & {process["pid"] for process in server.processes("web")}, 60)
    server.wait_until_ready()
    assert server.engine("@jeton/scripted")["pid"] == engine


def test_reload_cuts_no_stream_off_in_the_middle(wounded: Server):
    server = wounded
    ends: dict[str, list[Event]] = {}

    def read_api(name: str, tokens: int) -> None:
        with server.streaming(prompt=f'{{"tokens": {tokens}, "step_seconds": 0.05}}', max_tokens=tokens) as stream:
            ends[name] = list(stream)

    short = threading.Thread(target=read_api, args=("short", 60))
    long = threading.Thread(target=read_api, args=("long", 400))
    reader = server.reader()
    url = reader.submit(prompt='{"tokens": 100, "step_seconds": 0.05}')
    short.start()
    long.start()

    with reader.attached(url) as stream:
        taken = [next(event for event in stream if event.event_id)]
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        # No error: the stream ends as a stream should, and its reader goes on with a new web process.
        taken += [event for event in stream if event.event_id]
    before = len(taken)
    while taken[-1].data != "[DONE]":
        # The first time over the connection that was kept alive, to the process that is going: that ends too.
        with reader.attached(url, after=int(taken[-1].event_id or 0)) as stream:
            taken += [event for event in stream if event.event_id]
    short.join()
    long.join()

    assert before < 100
    assert [event.event_id for event in taken] == [str(number) for number in range(1, 102)]
    assert ends["short"][-1].data == "[DONE]"
    # One that outlasts the web process's patience learns that it is not whole.
    assert ends["long"][-1].json["errors"][0]["code"] == 5000


def test_data_is_for_this_user_only_and_nothing_typed_is_logged(server: Server):
    server.run(prompt="a secret nobody may log", max_tokens=2)
    server.run(prompt="another secret", token="not-a-token-but-secret")

    modes = {path.name: path.stat().st_mode & 0o777 for path in (server.data_dir, *server.data_dir.iterdir())}
    assert modes[server.data_dir.name] == 0o700
    assert modes["run"] == 0o700
    assert modes["secret-key"] == 0o600
    assert "secret" not in server.output
    assert TOKEN not in server.output


def test_stand_ins_can_be_refused(own_server):
    server = own_server(STAND_IN="off")

    answer = server.run("@cf/meta/llama-2-7b-chat-int8", prompt="hi")

    assert answer.status_code == 503
    assert "hf download meta-llama/Llama-2-7b-chat-hf" in answer.json()["errors"][0]["message"]


def test_tokens_are_made_and_revoked_by_command(server: Server):
    def flask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
            cwd=PROJECT_FOLDER,
            env=server.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    token = flask("create-token", "--name", "laptop").stdout.strip()
    assert server.run(prompt="hi", max_tokens=2, token=token).status_code == 200
    database = b"".join(path.read_bytes() for path in server.data_dir.glob("jeton.sqlite3*"))
    assert token.encode() not in database

    revoked = flask("revoke-token", "laptop")
    again = flask("revoke-token", "laptop")

    assert (revoked.returncode, revoked.stdout) == (0, "1 revoked\n")
    assert (again.returncode, again.stdout) == (1, "0 revoked\n")
    assert server.run(prompt="hi", token=token).status_code == 401


def runs(pid: int) -> bool:
    """Whether the process runs; one that nobody has collected yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_replaced(server: Server, role: str, killed: int) -> bool:
    try:
        pids = [process["pid"] for process in server.processes(role)]
    except (httpx.HTTPError, KeyError):
        return False
    return bool(pids) and killed not in pids
