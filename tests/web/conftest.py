"""An app with a folder of its own and no pool behind it."""

from collections.abc import Iterator
from pathlib import Path

import gevent
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


@pytest.fixture(autouse=True)
def the_hub_knows_the_time() -> None:
    """gevent's clock stands while its hub rests: a minute's wait begun after such a minute is over at once."""
    gevent.get_hub().loop.update_now()


def settings_in(folder: Path) -> Settings:
    return Settings(
        data_dir=folder / "data",
        cache_dir=folder / "cache",
        run_dir=folder / "data" / "run",
        models_file=MODELS,
        api_token=KNOWN_TOKEN,
        operator_token=OPERATOR_TOKEN,
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """One for all tests: each would open sockets and threads of its own."""
    settings = settings_in(tmp_path_factory.mktemp("app"))
    app = create_app(settings)
    Database(settings.database_url).upgrade(settings.data_dir / "database.lock")
    with pytest.MonkeyPatch.context() as patch:
        # Nobody answers here; a short wait shows it as well as a long one.
        patch.setattr(pool_client, "ANSWER_SECONDS", 0.02)
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jeton.sqlite3"


@pytest.fixture
def database(path: Path) -> Database:
    made = Database(f"sqlite:///{path}")
    made.upgrade(path.with_suffix(".lock"))
    return made
