"""What was measured on, in words: nothing that names its owner."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import PROJECT_FOLDER, Environment
from webapp.engine.cpu import physical_cores

_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16", "asimd", "i8mm")
_PACKAGES = ("torch", "transformers", "llama_cpp_python", "bitsandbytes", "gunicorn", "gevent", "fastapi", "uvicorn")


def describe() -> dict[str, str]:
    """Processor, cores, memory, system."""
    info = Path("/proc/cpuinfo").read_text("utf-8")
    flags = set(re.search(r"^(?:flags|Features)\s*:(.*)$", info, re.MULTILINE)[1].split())  # type: ignore[index]
    model = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    kilobytes = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text("utf-8"))
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": f"{cores()} physical, {os.cpu_count()} logical",
        "instructions": ", ".join(flag for flag in _TELLING_FLAGS if flag in flags),
        "memory": f"{int(kilobytes[1]) / 2**20:.0f} GiB" if kilobytes else "unknown",
        "system": f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}",
    }


def slug(description: dict[str, str]) -> str:
    """A file name's part: `amd-epyc-2-cores`."""
    words = f"{description['processor']} {description['cores'].split()[0]} cores"
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(r\)|\(tm\)|@.*?ghz|processor|cpu", "", words.lower())).strip("-")


def cores() -> int:
    """Physical cores this process may use: what every contender gets as its number of threads."""
    return physical_cores()


def own_versions() -> dict[str, str]:
    return {name: version for name in _PACKAGES if (version := _version(name))}


def versions(environment: Environment) -> dict[str, str]:
    """Of the packages that matter, in a peer's environment."""
    code = (
        "import importlib.metadata as m, json, sys\n"
        "print(json.dumps({d.metadata['Name'].replace('-', '_'): d.version for d in m.distributions()}))"
    )
    done = subprocess.run([environment.python, "-c", code], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return {name: found[name] for name in _PACKAGES if name in found}


def commit() -> str:
    """The commit that was measured; with a word where the working tree differs from it."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        try:
            done = subprocess.run(command, cwd=PROJECT_FOLDER, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return ""
        return done.stdout.strip()

    changes = " and uncommitted changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changes


def without_output(arguments: Sequence[str]) -> list[str]:
    """A command's arguments for a report, which names nobody's folders."""
    return without(arguments, "--output")


def without(arguments: Sequence[str], option: str) -> list[str]:
    """A command's arguments without an option and its value."""
    hidden = [at for at, argument in enumerate(arguments) if argument.startswith(option)]
    valued = [at + 1 for at in hidden if arguments[at] == option]
    return [argument for at, argument in enumerate(arguments) if at not in {*hidden, *valued}]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
