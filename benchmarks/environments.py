"""An environment of its own for each family of peers, made once, in the cache folder."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PROJECT_FOLDER = FOLDER.parent


@dataclass(frozen=True)
class Environment:
    """`name` has its requirements in requirements-<name>.txt. `build` is what compiling them reads."""

    name: str
    build: tuple[tuple[str, str], ...] = ()
    # Packages that are compiled here, for this processor, instead of taken as they were built elsewhere.
    compiled: tuple[str, ...] = ()

    @property
    def requirements(self) -> Path:
        return FOLDER / f"requirements-{self.name}.txt"

    @property
    def folder(self) -> Path:
        return cache_folder() / self.name

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    def ensure(self) -> None:
        """Make it, or bring it up to date, unless that was done before."""
        stamp = self.folder / "installed"
        wanted = hashlib.sha256(self.requirements.read_bytes() + repr((self.build, self.compiled)).encode()).hexdigest()
        if stamp.is_file() and stamp.read_text("utf-8") == wanted:
            return
        print(f"Installing {self.requirements.name}: some minutes the first time", flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.python.exists():
            subprocess.run([sys.executable, "-m", "venv", self.folder / "venv"], check=True)
        compiled = [argument for package in self.compiled for argument in ("--no-binary", package)]
        subprocess.run(
            [
                self.python,
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                *compiled,
                "-r",
                self.requirements,
            ],
            env=os.environ | dict(self.build),
            check=True,
        )
        stamp.write_text(wanted, "utf-8")


def cache_folder() -> Path:
    """Where environments and requantised weights are kept between runs."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return home / "jeton" / "bench"


TRANSFORMERS = Environment("transformers")
LLAMA_CPP = Environment("llama-cpp", build=(("CMAKE_ARGS", "-DGGML_NATIVE=ON"),), compiled=("llama-cpp-python",))
PLOT = Environment("plot")
FASTAPI = Environment("fastapi")
