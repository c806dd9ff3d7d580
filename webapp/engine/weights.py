"""The folder of weights that transformers loads for a catalogue entry. Never reaches for the network.

A GGUF file is converted once, into a folder of its own in the cache; reading it takes transformers about
20 seconds each time.
"""

import fcntl
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from webapp.catalog import CatalogEntry
from webapp.engine.runner import LoadProgress

# Raise it when what is written changes.
_FORMAT = 1
# Read from both ends of a file to tell it from another: its metadata and its last weights.
_SAMPLE_BYTES = 1 << 20


class ModelLoadFailed(Exception):
    """A model cannot be loaded. The message is a sentence that names it and says why."""


def prepare_weights(entry: CatalogEntry, *, cache_dir: Path, on_progress: LoadProgress) -> Path:
    """A folder with config, weights and tokenizer. Raises ModelLoadFailed where the weights are not installed.

    Any number of processes may call it at once, also for several entries of one file: one converts, the others
    wait for it.
    """
    source = entry.weights_path()
    if source is None:
        raise ModelLoadFailed(entry.missing_weights)
    if source.is_dir():
        on_progress(1.0)
        return source
    # Named by the file: entries of several precisions share one conversion.
    target = cache_dir / _slug(f"{entry.weights.package} {source.name}") / _identity(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_dir():
        with _lock(target.parent / "lock"):
            if not target.is_dir():
                _convert(source, target, entry=entry, on_progress=on_progress)
    on_progress(1.0)
    return target


def _convert(source: Path, target: Path, *, entry: CatalogEntry, on_progress: LoadProgress) -> None:
    """Write to a temporary folder, and rename it when it is whole. Folders of older conversions go."""
    # It takes two seconds to import, which a start with converted weights does not need.
    from webapp.engine.gguf import convert_gguf

    _remove_all_in(target.parent)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=target.parent))
    # mkdtemp's 0700 would keep other users of a shared cache out.
    unfinished.chmod(0o755)
    on_progress(0.0)
    try:
        convert_gguf(source, unfinished, on_progress=on_progress)
        unfinished.rename(target)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelLoadFailed(f"The file {source.name} of {entry.name} cannot be converted: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _remove_all_in(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _identity(source: Path) -> str:
    """What a converted folder is called: it changes with the file, and with what we write."""
    size = source.stat().st_size
    digest = hashlib.sha256(f"{_FORMAT} {size}".encode())
    with source.open("rb") as file:
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(0, size - _SAMPLE_BYTES))
        digest.update(file.read())
    return digest.hexdigest()[:16]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the system releases it when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
