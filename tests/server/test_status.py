"""/healthz, /readyz, /pool.json over a real server."""

import os
import signal

from tests.harness import Server, wait_until


def test_healthz_says_that_the_web_process_lives(server: Server):
    assert server.client.get("/healthz").json() == {"status": "ok"}


def test_readyz_needs_a_real_token_from_each_engine(server: Server):
    server.wait_until_ready()
    engine = server.engine("@jeton/scripted")
    assert engine["seconds_since_token"] is not None

    os.kill(engine["pid"], signal.SIGSTOP)
    try:
        # A token that was made a moment ago still counts; then the probe has to bring one, and cannot.
        wait_until(lambda: server.client.get("/readyz").status_code == 503, 30)
    finally:
        server.wait_until_ready()
    assert server.engine("@jeton/scripted")["pid"] != engine["pid"]


def test_pool_json_names_every_process_with_its_role(server: Server):
    server.wait_until_ready()

    processes = server.state()["processes"]

    roles = [process["role"] for process in processes]
    assert [roles.count(role) for role in ("supervisor", "pool", "gunicorn", "web")] == [1, 1, 1, 2]
    assert roles.count("engine") >= 1
    assert all(process["pid"] > 0 for process in processes)


def test_process_ids_are_for_this_machine_and_for_operators(own_server):
    server = own_server(JETON_OPERATOR_TOKEN="an-operator-token")
    behind_a_proxy = {"X-Forwarded-For": "203.0.113.9"}

    stranger = server.client.get("/pool.json", headers=behind_a_proxy).json()
    operator = server.client.get(
        "/pool.json", headers=behind_a_proxy | {"Authorization": "Bearer an-operator-token"}
    ).json()

    assert all("pid" not in process for process in stranger["processes"])
    assert all(process["pid"] > 0 for process in operator["processes"])
