"""The systemd units of docs/deployment, read as systemd reads them."""

from collections import defaultdict
from pathlib import Path

from tests.harness import PROJECT_FOLDER

DEPLOYMENT = PROJECT_FOLDER / "docs" / "deployment"
POOL, WEB, TARGET = DEPLOYMENT / "jeton-pool.service", DEPLOYMENT / "jeton-web.service", DEPLOYMENT / "jeton.target"
UNITS = (POOL, WEB, TARGET)
INSTALLED_IN = "/opt/jeton"
PYTHON = f"{INSTALLED_IN}/.venv/bin/python"


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Every setting of the unit with all its values, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in unit.read_text("utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def command_of(unit: Path) -> list[str]:
    """What the unit starts, as words."""
    (command,) = settings_of(unit)["ExecStart"]
    return command.split()
