"""The Containerfile, as far as it can be checked without a registry: what it copies, and what it starts, works."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment.units import DEPLOYMENT
from tests.harness import PROJECT_FOLDER, make_server
from tests.test_docs import setting_names

CONTAINERFILE = (DEPLOYMENT / "Containerfile").read_text("utf-8")


def instructions(name: str) -> list[str]:
    """The values of all instructions of this name, lines that go on joined."""
    joined = CONTAINERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name}\s+(.*)$", joined, re.MULTILINE)


def command(name: str) -> list[str]:
    (text,) = instructions(name)
    words = json.loads(text[text.index("[") :])
    return [sys.executable if word == "python" else word for word in words]


def test_runs_as_a_user_of_its_own_with_settings_that_exist():
    assert instructions("USER") == ["jeton"]
    assert "jeton" in CONTAINERFILE[: CONTAINERFILE.index("\nUSER")]
    (environment,) = instructions("ENV")
    names = {pair.partition("=")[0] for pair in environment.split()}
    assert names - setting_names() == {"HF_HOME", "PYTHONUNBUFFERED"}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with what the image would hold of this project."""
    folder = tmp_path / "image"
    folder.mkdir()
    for instruction in instructions("COPY"):
        for source in instruction.split()[:-1]:
            origin = PROJECT_FOLDER / source
            copy = shutil.copytree if origin.is_dir() else shutil.copy
            copy(origin, folder / source)
    return folder


def test_what_it_copies_is_all_that_a_start_and_the_health_check_need(copied: Path, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    server = make_server(data, HOST="0.0.0.0")
    check = command("HEALTHCHECK")
    before = subprocess.run(check, env=server.environ, capture_output=True, timeout=20)
    with (data / "output.log").open("wb") as log:
        server.process = subprocess.Popen(command("CMD"), cwd=copied, env=server.environ, stdout=log, stderr=log)
    try:
        server.wait_until_ready()
        after = subprocess.run(check, env=server.environ, capture_output=True, timeout=20)
        page = server.client.get("/")
        style = server.client.get("/static/style.css")
    finally:
        server.stop()

    assert (before.returncode, after.returncode) == (1, 0)
    assert (page.status_code, style.status_code) == (200, 200)
    assert server.process.returncode == 0
