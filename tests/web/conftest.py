"""An app with a folder of its own and no pool behind it."""

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from webapp.settings import Settings
from webapp.web import pool_client
from webapp.web.create_app import create_app
from webapp.web.database import Database

MODELS = Path(__file__).parents[1] / "models.toml"
KNOWN_TOKEN = "a-token-that-is-known"
OPERATOR_TOKEN = "a-token-for-operators"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        cache_dir=tmp_path / "cache",
        run_dir=tmp_path / "data" / "run",
        models_file=MODELS,
        api_token=KNOWN_TOKEN,
        operator_token=OPERATOR_TOKEN,
    )


@pytest.fixture
def app(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Flask:
    # Nobody answers here; a short wait shows it as well as a long one.
    monkeypatch.setattr(pool_client, "ANSWER_SECONDS", 0.02)
    app = create_app(settings)
    Database(settings.database_url).upgrade(settings.data_dir / "database.lock")
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
