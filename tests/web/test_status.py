"""/readyz by what the pool says of its engines."""

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.harness import SCRIPTED_MODELS
from tests.web.states import engine_state as engine
from tests.web.states import pool_state as pool
from webapp.catalog import read_catalog
from webapp.placement import Machine
from webapp.web import status
from webapp.web.auth import ApiTokens
from webapp.web.database import Database
from webapp.wire.messages import EngineState, PoolState

ON_DEMAND = "@jeton/scripted-small"


class SteadyPool:
    """Its engines stay as they are, probed or not."""

    def __init__(self, *engines: EngineState) -> None:
        self._state = pool(*engines)

    def state(self, *, has_to_probe: bool = False) -> PoolState:
        return self._state


def silent(**fields: object) -> EngineState:
    """An engine that has made no token yet."""
    return engine(seconds_since_token=None, **fields)


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "PROBE_SECONDS", 0.05)


def client(folder: Path, *engines: EngineState, memory_budget: int | None = None) -> FlaskClient:
    app = Flask(__name__)
    tokens = ApiTokens(Database(f"sqlite:///{folder / 'none'}"), known_token=None, operator_token=None)
    catalog = read_catalog(SCRIPTED_MODELS, machine=Machine(host_budget=memory_budget))
    app.register_blueprint(status.blueprint(SteadyPool(*engines), tokens, catalog))
    return app.test_client()


def test_ready_with_a_fresh_token_of_each_engine_that_starts_with_jeton(tmp_path: Path) -> None:
    answer = client(tmp_path, engine()).get("/readyz")

    assert (answer.status_code, answer.json) == (200, {"status": "ready"})


@pytest.mark.parametrize(
    ("engines", "reason"),
    [
        ((), "@jeton/scripted: no engine"),
        ((engine(model=ON_DEMAND),), "@jeton/scripted: no engine"),
        ((engine(seconds_since_token=60.0),), "@jeton/scripted: no token within a few seconds"),
        ((silent(state="loading", load_fraction=0.4),), "@jeton/scripted: loading, 40% loaded"),
        ((engine(), silent(state="lost", error="no kernel")), "@jeton/scripted: lost: no kernel"),
    ],
)
def test_not_ready_without_and_says_why(tmp_path: Path, engines: tuple[EngineState, ...], reason: str) -> None:
    answer = client(tmp_path, *engines).get("/readyz")

    assert (answer.status_code, answer.json["reasons"]) == (503, [reason])


@pytest.mark.parametrize("state", ["idle", "busy", "draining", "loading", "lost", "cold"])
def test_models_that_load_at_their_first_use_do_not_count(tmp_path: Path, state: str) -> None:
    on_demand = silent(model=ON_DEMAND, state=state, error="it hangs")

    assert client(tmp_path, engine(), on_demand).get("/readyz").status_code == 200


def test_model_of_the_start_that_cannot_run_here_is_a_reason(tmp_path: Path) -> None:
    answer = client(tmp_path, memory_budget=50 * 10**6).get("/readyz")

    (reason,) = answer.json["reasons"]
    assert answer.status_code == 503
    assert "@jeton/scripted needs about 60 MB of memory; the budget of all models is 50 MB" in reason


SECRET = "OSError: /home/someone/weights: no such file"
STRANGERS = [
    {"environ_overrides": {"REMOTE_ADDR": "192.0.2.1"}},
    {"headers": {"X-Forwarded-For": "127.0.0.1"}},
    {"headers": {"Host": "rebound.example"}},
]


@pytest.mark.parametrize("caller", STRANGERS, ids=str)
@pytest.mark.parametrize("path", ["/readyz", "/pool.json"])
def test_what_a_library_said_is_not_for_strangers(tmp_path: Path, path: str, caller: dict) -> None:
    failed = client(tmp_path, silent(state="lost", error=SECRET))

    stranger, owner = failed.get(path, **caller), failed.get(path)

    assert SECRET not in stranger.text and "Jeton's log says why" in stranger.text
    assert SECRET in owner.text
    assert stranger.status_code == owner.status_code
