"""The conversion of the starter's GGUF file, with the reading of it replaced where only files matter."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import torch
from gguf import GGUFReader, dequantize
from transformers import AutoModelForCausalLM

from webapp.catalog import CatalogEntry, Weights
from webapp.engine import gguf as gguf_module
from webapp.engine import weights as weights_module
from webapp.engine.loader import load_runner
from webapp.engine.packed_linear import PackedLinear, pack_linears
from webapp.engine.weights import ModelLoadFailed, prepare_weights


def _no_progress(fraction: float) -> None:
    pass


class Converter:
    """Stands in for the conversion; writes one file and counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, source: Path, target: Path, **_: object) -> None:
        self.times += 1
        target.mkdir()
        (target / "config.json").write_text("{}")


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> Converter:
    converter = Converter()
    monkeypatch.setattr(weights_module, "_convert", converter)
    return converter


def test_converted_weights_are_what_the_file_holds(weights: Path, starter: CatalogEntry):
    source = starter.weights_path()
    assert source is not None
    tensor = next(tensor for tensor in GGUFReader(source).tensors if tensor.name == "blk.3.ffn_down.weight")

    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32, local_files_only=True)

    expected = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
    assert torch.equal(model.model.layers[3].mlp.down_proj.weight, expected)


def test_a_second_call_converts_nothing_and_reports_all_done(
    starter: CatalogEntry, tmp_path: Path, converter: Converter
):
    progress: list[float] = []

    first = prepare_weights(starter, cache_dir=tmp_path, on_progress=_no_progress)
    second = prepare_weights(starter, cache_dir=tmp_path, on_progress=progress.append)

    assert first == second and first.is_relative_to(tmp_path)
    assert converter.times == 1
    assert progress == [1.0]


def test_variants_of_a_model_share_one_conversion(starter: CatalogEntry, tmp_path: Path, converter: Converter):
    variant = msgspec.structs.replace(starter, name="@another/name", precision="int8")

    folders = {
        prepare_weights(entry, cache_dir=tmp_path, on_progress=_no_progress) for entry in (starter, variant, starter)
    }

    assert len(folders) == 1
    assert converter.times == 1


def test_engines_that_convert_at_once_do_it_once(
    starter: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    times = []

    def convert(source: Path, target: Path, **_: object) -> None:
        times.append(target)
        time.sleep(0.2)
        target.mkdir()

    monkeypatch.setattr(weights_module, "_convert", convert)
    variants = [msgspec.structs.replace(starter, name=f"@variant/{number}") for number in range(4)]

    # Threads that open the lock's file themselves exclude each other as processes do (flock(2)).
    with ThreadPoolExecutor() as threads:
        folders = set(
            threads.map(lambda entry: prepare_weights(entry, cache_dir=tmp_path, on_progress=_no_progress), variants)
        )

    assert len(times) == len(folders) == 1


def test_another_file_or_format_is_converted_anew(
    starter: CatalogEntry, tmp_path: Path, converter: Converter, monkeypatch: pytest.MonkeyPatch
):
    before = prepare_weights(starter, cache_dir=tmp_path, on_progress=_no_progress)
    monkeypatch.setattr(weights_module, "_FORMAT", weights_module._FORMAT + 1)

    after = prepare_weights(starter, cache_dir=tmp_path, on_progress=_no_progress)

    assert before != after
    assert converter.times == 2


def test_a_conversion_that_fails_leaves_nothing_and_says_why(
    starter: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise ValueError("not a GGUF file")

    monkeypatch.setattr(gguf_module.AutoTokenizer, "from_pretrained", fail)

    with pytest.raises(ModelLoadFailed, match="cannot be converted: not a GGUF file"):
        prepare_weights(starter, cache_dir=tmp_path, on_progress=_no_progress)
    assert [path.name for path in tmp_path.rglob("*/*")] == ["lock"]


def test_a_folder_of_weights_is_used_as_it_is(starter: CatalogEntry, weights: Path, tmp_path: Path):
    entry = msgspec.structs.replace(starter, weights=Weights(folder=str(weights)))

    assert prepare_weights(entry, cache_dir=tmp_path, on_progress=_no_progress) == weights
    assert not list(tmp_path.iterdir())


def test_missing_weights_fail_with_the_command_that_installs_them(starter: CatalogEntry, tmp_path: Path):
    entry = msgspec.structs.replace(starter, weights=Weights(folder=str(tmp_path / "none")), install="pip install it")

    with pytest.raises(ModelLoadFailed, match="pip install it"):
        load_runner(entry, cache_dir=tmp_path, device="cpu", on_progress=_no_progress)


def test_broken_weights_fail_with_a_sentence_that_keeps_the_folder_for_the_log(
    starter: CatalogEntry, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    entry = msgspec.structs.replace(starter, weights=Weights(folder=str(tmp_path)))

    with pytest.raises(ModelLoadFailed, match="cannot be loaded: ") as failed:
        load_runner(entry, cache_dir=tmp_path, device="cpu", on_progress=_no_progress)

    assert str(tmp_path) not in str(failed.value)
    assert f"cannot be loaded from {tmp_path}" in caplog.text


def test_packed_linears_compute_what_the_plain_ones_do():
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(64, 96), torch.nn.Linear(96, 32, bias=False)).to(torch.bfloat16)
    inputs = torch.randn(3, 5, 64, dtype=torch.bfloat16)
    with torch.inference_mode():
        expected = plain(inputs)
        pack_linears(plain)
        packed = plain(inputs)

    assert all(isinstance(module, PackedLinear) for module in plain)
    torch.testing.assert_close(packed, expected, atol=2e-2, rtol=2e-2)
