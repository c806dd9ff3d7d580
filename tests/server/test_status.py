"""/healthz, /readyz, /pool.json over a real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, make_server, wait_until

OPERATOR = {"Authorization": "Bearer an-operator-token"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that nobody has asked for a generation."""
    server = make_server(tmp_path_factory.mktemp("fresh"), JETON_OPERATOR_TOKEN="an-operator-token")
    server.start()
    yield server
    server.stop()


def test_healthz_says_that_the_web_process_lives(server: Server):
    assert server.client.get("/healthz").json() == {"status": "ok"}


def test_readyz_brings_a_real_token_from_each_engine(fresh: Server):
    # Nobody has asked for a generation: the token is a probe's.
    assert fresh.client.get("/readyz").json() == {"status": "ready"}
    assert fresh.engine("@jeton/scripted")["seconds_since_token"] < 10
    assert fresh.engine("@jeton/scripted")["running"] == 0


def test_readyz_says_which_model_does_not_load_and_its_requests_learn_why(tmp_path: Path):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text('{"model_type": "no such type"}')
    models = tmp_path / "models.toml"
    models.write_text(f"""
        [[model]]
        name = "@jeton/broken"
        title = "Broken"
        description = "Its weights are none."
        weights = {{ folder = "{weights}" }}
        precision = "full"
        context_window = 100
        sequence_length = 100
        slots = 1
        is_loaded_at_start = true
        """)
    server = make_server(tmp_path, models_file=models)
    server.start(is_ready_at_end=False)
    try:
        wait_until(lambda: "cannot be loaded" in server.readiness().text, 120, lambda: server.output)
        readiness = server.readiness()
        answer = server.run("@jeton/broken", prompt="hi")
    finally:
        server.stop()

    assert readiness.status_code == 503
    assert "@jeton/broken" in readiness.json()["reasons"][0]
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, 3040)
    assert "cannot be loaded" in answer.json()["errors"][0]["message"]


def test_pool_json_names_every_process_with_its_role(server: Server):
    # A web process is known from its first request on.
    wait_until(lambda: server.readiness().status_code == 200 and len(server.processes("web")) == 2, 20)

    processes = server.state()["processes"]

    roles = [process["role"] for process in processes]
    assert [roles.count(role) for role in ("supervisor", "pool", "gunicorn", "web")] == [1, 1, 1, 2]
    assert roles.count("engine") >= 1
    assert all(process["pid"] > 0 for process in processes if process["state"] != "cold")


def test_process_ids_are_for_this_machine_and_for_operators(fresh: Server):
    behind_a_proxy = {"X-Forwarded-For": "203.0.113.9"}

    stranger = fresh.client.get("/pool.json", headers=behind_a_proxy).json()
    operator = fresh.client.get("/pool.json", headers=behind_a_proxy | OPERATOR).json()

    assert all("pid" not in process for process in stranger["processes"])
    assert all(process["pid"] > 0 for process in operator["processes"])
