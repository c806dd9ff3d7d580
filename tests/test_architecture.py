"""Who loads what: each process imports its own folder and what crosses between processes, and no more.

Each import runs in a Python of its own, so that nothing of the tests is there already.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT_FOLDER = Path(__file__).parents[1]


def run(code: str, tmp_path: Path) -> str:
    """What this code prints, in a new Python with a data folder of its own."""
    environ = {"PATH": "/usr/bin:/bin", "JETON_DATA_DIR": str(tmp_path), "JETON_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_FOLDER,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(code: str, tmp_path: Path) -> set[str]:
    """The top-level packages, and the folders of this project, that are loaded after this code."""
    output = run(f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))", tmp_path)
    names = json.loads(output.splitlines()[-1])
    return {name.split(".")[0] for name in names} | {".".join(name.split(".")[:2]) for name in names}


TENSORS = {"torch", "transformers", "bitsandbytes", "numpy"}
WEB = {"flask", "werkzeug", "jinja2", "gevent", "gunicorn", "sqlalchemy", "alembic"}

CASES = {
    "the web process": ("import wsgi", {"flask", "gevent", "webapp.web"}, TENSORS | {"webapp.pool", "webapp.engine"}),
    "the pool": (
        "import webapp.pool.process",
        {"zmq", "webapp.pool"},
        TENSORS | WEB | {"webapp.web", "webapp.engine"},
    ),
    "an engine before it loads": (
        "import webapp.engine.process",
        {"zmq", "webapp.engine"},
        TENSORS | WEB | {"webapp.web", "webapp.pool"},
    ),
    "the supervisor": (
        "import webapp.supervisor",
        {"zmq", "webapp.supervisor"},
        TENSORS | WEB | {"webapp.web", "webapp.pool", "webapp.engine"},
    ),
    "the commands": (
        "import webapp.__main__",
        {"webapp.__main__"},
        TENSORS | WEB | {"zmq", "webapp.web", "webapp.pool", "webapp.engine"},
    ),
    "the wire": (
        "import webapp.wire.codec",
        {"msgspec", "webapp.wire"},
        TENSORS | WEB | {"zmq", "webapp.web", "webapp.pool", "webapp.engine", "webapp.catalog", "webapp.settings"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_process_loads_its_own_folder_and_nothing_of_the_others(name: str, tmp_path: Path) -> None:
    code, wanted, forbidden = CASES[name]

    loaded = loaded_by(code, tmp_path)

    assert wanted <= loaded
    assert not forbidden & loaded


SCRIPTED = """
from webapp.catalog import CatalogEntry, Weights
from webapp.engine.process import _loader
from webapp.settings import read_settings
from webapp.wire.generation import Delta, GenerationRequest
from webapp.wire.messages import Dispatch

entry = CatalogEntry(name="s", title="", description="", weights=Weights(scripted=True), precision="scripted",
                     context_window=9, sequence_length=9, slots=1)
runner = _loader(read_settings(), "cpu")(entry, print)
request = GenerationRequest(model="s", context_window=9, max_tokens=9, seed=1, prompt='{"pieces": ["New", "York"]}')
runner.start(Dispatch(generation_id="g", lease=1, request=request))
text = ""
while runner.leases:
    text += "".join(row.event.text for row in runner.step() if isinstance(row.event, Delta))
assert text == "NewYork", text
"""


def test_scripted_engine_answers_without_loading_torch(tmp_path: Path) -> None:
    assert not TENSORS & loaded_by(SCRIPTED, tmp_path)


def test_package_itself_is_empty_so_that_importing_a_folder_loads_no_other() -> None:
    assert (PROJECT_FOLDER / "webapp" / "__init__.py").read_bytes() == b""


def test_assembling_the_app_opens_no_socket_and_no_database(tmp_path: Path) -> None:
    # What is open at a fork is shared by all web processes.
    open_files = run(
        "import wsgi, os\nprint([os.readlink(f'/proc/self/fd/{n}') for n in range(3, 20)"
        " if os.path.exists(f'/proc/self/fd/{n}')])",
        tmp_path,
    )

    assert "sqlite" not in open_files and "socket" not in open_files
    assert not (tmp_path / "jeton.sqlite3").exists()
