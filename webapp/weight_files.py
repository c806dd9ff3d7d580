"""Where weights lie and about how many there are, by names and sizes of files. Reads no weight, knows no catalogue."""

import os
from importlib.util import find_spec
from pathlib import Path

# Bytes that a weight takes in a file: 16 bits in safetensors, about 5 in a small GGUF file.
_FILE_BYTES_PER_WEIGHT = 2.0
_GGUF_BYTES_PER_WEIGHT = 0.625


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
