"""From a catalogue entry to a runner on this machine's processor, and the promise that its text is the same."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor

from tests.engine.driving import Drive, answer_of, request
from tests.engine.native.compiling import compiled_sooner
from tests.engine.tiny import save_tiny
from webapp.catalog import CatalogEntry, Weights
from webapp.engine import torch_model
from webapp.engine.loader import load_runner
from webapp.engine.model import Chunk, Row
from webapp.engine.native import library as native_library
from webapp.engine.native.library import load_library
from webapp.engine.native.model import NativeModel
from webapp.engine.slot_model import SlotModel
from webapp.engine.slot_runner import SlotRunner
from webapp.engine.weights import ModelLoadFailed

Load = Callable[..., SlotRunner]

_PROMPTS = [
    "Tell me a story.",
    "Write a poem about the sea, please, with many verses and no rhymes at all.",
    "What is a lighthouse?",
    "Count to one hundred.",
]


@pytest.fixture
def load(starter: CatalogEntry, cache_dir: Path) -> Load:
    def load(**fields: object) -> SlotRunner:
        entry = msgspec.structs.replace(starter, **{"precision": "int4", **fields})
        runner = load_runner(entry, cache_dir=cache_dir, device="cpu", on_progress=lambda fraction: None)
        assert isinstance(runner, SlotRunner)
        return runner

    return load


@pytest.mark.parametrize("precision", ["int4", "full"])
def test_the_text_is_the_same_alone_in_a_crowd_and_dispatched_again(load: Load, precision: str):
    runner = load(precision=precision)
    asked = request("Tell me about the weather.", seed=3, temperature=1.0, top_p=0.95, max_tokens=60)
    alone = answer_of(runner, asked)

    crowd = Drive(runner)
    for seed in range(14):
        crowd.start(request(_PROMPTS[seed % 4], seed=seed, temperature=0.9, max_tokens=20 + 3 * seed))
    crowd.step(4)
    among = crowd.start(asked)
    crowd.step(9)
    again = crowd.start(asked, token_ids=alone.token_ids[:25])
    crowd.finish()

    assert len(alone.token_ids) > 30
    assert among.token_ids == alone.token_ids
    assert among.text == alone.text
    assert again.token_ids == alone.token_ids[25:]


def test_without_a_compiler_int4_runs_on_torch_and_says_why(
    load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("CXX", "no-such-compiler")
    # What the cache has is of other flags.
    monkeypatch.setattr(native_library, "_FLAGS", ("-O0",))

    with caplog.at_level(logging.WARNING):
        runner = load()

    assert isinstance(runner._model, SlotModel)
    assert runner.precision == "int4"
    # 4-bit layers, and embeddings in bf16: all of it counts.
    assert runner._model.weight_bytes > 100_000_000
    assert "install g++" in caplog.text
    # The same blocks, with activations in bf16 here and in 8 bits there.
    monkeypatch.undo()
    found, expected = (_logits(one) for one in (runner, load()))
    assert torch.nn.functional.cosine_similarity(found, expected, dim=0) > 0.995


def _logits(runner: SlotRunner) -> Tensor:
    token_ids = list(range(100, 120))
    runner._model.prefill([Chunk(0, token_ids, 0)])
    return runner._model.decode([Row(0, 120, len(token_ids))])[0]


def test_packed_weights_are_kept_and_read_without_transformers_reading_the_model(
    load: Load, monkeypatch: pytest.MonkeyPatch
):
    expected = answer_of(load(), request()).text
    monkeypatch.setattr(torch_model, "read_model", None)

    runner = load()

    assert isinstance(runner._model, NativeModel)
    assert answer_of(runner, request()).text == expected


@pytest.fixture(scope="module")
def small(starter: CatalogEntry, tmp_path_factory: pytest.TempPathFactory) -> CatalogEntry:
    """Of an int4 model that is packed in a moment, whose prompts are raw."""
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_key_value_heads": 1}
    folder = save_tiny(tmp_path_factory.mktemp("small"), **shape)
    return msgspec.structs.replace(starter, precision="int4", weights=Weights(folder=str(folder)))


def test_damaged_packed_weights_are_made_anew(small: CatalogEntry, cache_dir: Path, tmp_path: Path):
    load_library(cache_dir, threads=1)
    # All but the library, which is compiled already.
    shutil.copytree(cache_dir / "native", tmp_path / "native", ignore=shutil.ignore_patterns("*.safetensors"))

    def load() -> SlotRunner:
        runner = load_runner(small, cache_dir=tmp_path, device="cpu", on_progress=lambda fraction: None)
        assert isinstance(runner, SlotRunner)
        return runner

    expected = answer_of(load(), request(raw=True)).token_ids
    (packed,) = tmp_path.glob("native/*.safetensors")
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])

    assert answer_of(load(), request(raw=True)).token_ids == expected
    assert packed.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(
    small: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(native_library, "_FLAGS", compiled_sooner())
    # Root may write into any folder; nobody into a file.
    (tmp_path / "native").touch()

    with caplog.at_level(logging.WARNING):
        runner = load_runner(small, cache_dir=tmp_path, device="cpu", on_progress=lambda fraction: None)

    assert isinstance(runner, SlotRunner)
    assert isinstance(runner._model, NativeModel)
    assert caplog.text.count("cannot be kept") == 2


def test_memory_that_holds_no_generation_of_full_length_fails_with_the_reason(load: Load):
    with pytest.raises(ModelLoadFailed, match="of full length"):
        load(memory="920 MB")


def test_memory_bounds_what_the_cache_takes(load: Load):
    bounded = load(memory="1 GB")

    most = bounded._scheduler._max_positions
    assert most < bounded._model.slots * bounded._model.slot_length
    assert bounded._model.weight_bytes + most * bounded._model.cache.bytes_per_position <= 300_000_000
