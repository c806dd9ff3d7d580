"""A device that is lost in the middle of a step ends the engine's process, and nobody's generation by itself."""

import subprocess
import sys

import pytest

from tests.gpu.losing_a_device import lose_in_the_middle
from tests.harness import PROJECT_FOLDER
from webapp.engine.errors import DeviceLost


def test_loss_of_a_device_ends_no_generation_and_all_of_the_engine(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DeviceLost):
        lose_in_the_middle("cpu", monkeypatch.setattr)


@pytest.mark.gpu
def test_what_a_driver_reports_is_such_a_loss():
    # In a process of its own, which is of no use after it.
    command = [sys.executable, "-m", "tests.gpu.losing_a_device"]
    ended = subprocess.run(command, cwd=PROJECT_FOLDER, capture_output=True, text=True, timeout=300)

    assert ended.returncode == 1
    assert "webapp.engine.errors.DeviceLost: CUDA error" in ended.stderr
