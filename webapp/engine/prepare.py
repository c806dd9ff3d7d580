"""`python -m webapp prepare`: converts weights that come in Python packages, once, so that starts are quick."""

from webapp.catalog import CatalogEntry, read_catalog
from webapp.engine.runner import LoadProgress
from webapp.engine.weights import prepare_weights
from webapp.settings import Settings


def main(settings: Settings) -> None:
    """Convert what is installed and not yet converted, printing progress."""
    for entry in read_catalog(settings.models_file).entries:
        if entry.weights.package and entry.is_installed:
            prepare_weights(entry, cache_dir=settings.cache_dir, on_progress=_printer(entry))


def _printer(entry: CatalogEntry) -> LoadProgress:
    last_percent = -1

    def on_progress(fraction: float) -> None:
        nonlocal last_percent
        percent = int(10 * fraction) * 10
        if percent > last_percent:
            last_percent = percent
            print(f"Converting {entry.title}: {percent} %", flush=True)

    return on_progress
