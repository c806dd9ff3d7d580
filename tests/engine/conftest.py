"""The starter model in fp32, loaded once, and a plain transformers model of the same weights to compare with."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tests.engine.driving import Reference
from webapp.catalog import CatalogEntry, read_catalog
from webapp.engine.hardware import Processor
from webapp.engine.loader import load_runner
from webapp.engine.slot_model import SlotModel
from webapp.engine.slot_runner import SlotRunner
from webapp.engine.weights import prepare_weights

_STARTER = "@hf/huggingfacetb/smollm2-135m-instruct"
_CATALOG = Path(__file__).parents[2] / "models.toml"


def _no_progress(fraction: float) -> None:
    pass


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    return Path(os.environ.get("JETON_CACHE_DIR", "~/.cache/jeton")).expanduser()


@pytest.fixture(scope="session")
def starter() -> CatalogEntry:
    entry = read_catalog(_CATALOG).find(_STARTER)
    if not entry.is_installed:
        pytest.skip(f"the starter model is not installed: {entry.install}")
    return msgspec.structs.replace(entry, precision="fp32", context_window=1024, sequence_length=256)


@pytest.fixture(scope="session")
def weights(starter: CatalogEntry, cache_dir: Path) -> Path:
    return prepare_weights(starter, cache_dir=cache_dir, on_progress=_no_progress)


@pytest.fixture(scope="session")
def tokenizer(weights: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(weights, local_files_only=True)


@pytest.fixture(scope="session")
def loaded_runner(starter: CatalogEntry, cache_dir: Path) -> SlotRunner:
    runner = load_runner(starter, cache_dir=cache_dir, device="cpu", on_progress=_no_progress)
    assert isinstance(runner, SlotRunner)
    return runner


@pytest.fixture
def runner(loaded_runner: SlotRunner):
    """The one runner, with nothing running before and after."""
    yield loaded_runner
    for lease in loaded_runner.leases:
        loaded_runner.abort(lease)


@pytest.fixture(scope="session")
def reference(weights: Path, tokenizer: PreTrainedTokenizerFast) -> Reference:
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32, local_files_only=True).eval()
    return Reference(model, tokenizer)


@pytest.fixture
def starter_of_length(weights: Path, tokenizer: PreTrainedTokenizerFast) -> Callable[..., SlotRunner]:
    """Makes a small runner whose slots hold just so many tokens."""

    def make(slot_length: int, *, max_positions: int | None = None) -> SlotRunner:
        model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32, local_files_only=True).eval()
        slot_model = SlotModel(model, hardware=Processor(), slots=2, slot_length=slot_length)
        return SlotRunner(slot_model, tokenizer, end_ids=frozenset({2}), precision="fp32", max_positions=max_positions)

    return make
