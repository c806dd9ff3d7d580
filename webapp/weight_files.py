"""Where weights lie, which they are and about how many, by names and sizes of files.

Reads no weight, knows no catalogue.
"""

import json
import os
import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

# Bytes that a weight takes in a file: 16 bits in safetensors, about 5 in a small GGUF file.
_FILE_BYTES_PER_WEIGHT = 2.0
_GGUF_BYTES_PER_WEIGHT = 0.625
# As git names its commits. Of these so many digits tell a commit from all others of its repository.
_COMMIT = re.compile(r"[0-9a-f]{40}")
_COMMIT_DIGITS = 12


def paths_in_package(package: str, name: str) -> list[Path]:
    """Where a file or folder of an installed package may lie; empty where the package is not installed."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return [Path(folder) / name for folder in folders]


def hub_snapshot(repository: str) -> Path | None:
    """The newest snapshot in the Hugging Face cache, by its documented layout; nothing is fetched."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    configs = sorted(_files(snapshots, "*/config.json"), key=lambda config: config.stat().st_mtime)
    return configs[-1].parent if configs else None


def package_revision(package: str, name: str) -> str:
    """Which version of which distribution a file or folder of an installed package comes from."""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        # Most are called what they hold; to find the others takes a tenth of a second.
        names = metadata.packages_distributions().get(package)
        if not names:
            return name
        distribution = metadata.distribution(names[0])
    return f"{distribution.metadata['Name']} {distribution.version} · {name}"


def snapshot_revision(repository: str, snapshot: Path) -> str:
    """Which commit of a repository of the hub a snapshot is."""
    return f"{repository} · {snapshot.name[:_COMMIT_DIGITS]}"


def folder_revision(folder: Path) -> str:
    """The name of a folder with weights, and the commit they were saved from where its config.json says it.

    Nothing of where the folder lies, which is the machine's own.
    """
    name = folder.name or folder.resolve().name
    commit = _saved_commit(folder)
    return f"{name} · {commit[:_COMMIT_DIGITS]}" if commit else name


def _saved_commit(folder: Path) -> str | None:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    commit = config.get("_commit_hash") if isinstance(config, dict) else None
    return commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None


def count_weights(path: Path) -> float:
    """About how many weights a file or folder holds, by its size."""
    if path.is_file():
        return path.stat().st_size / _GGUF_BYTES_PER_WEIGHT
    # A repository may hold the same weights in both formats.
    files = _files(path, "*.safetensors") or _files(path, "*.bin")
    return sum(file.stat().st_size for file in files) / _FILE_BYTES_PER_WEIGHT


def _files(folder: Path, pattern: str) -> list[Path]:
    # The cache of the hub holds links, and one whose download was broken off leads nowhere.
    return [path for path in folder.glob(pattern) if path.is_file()]
