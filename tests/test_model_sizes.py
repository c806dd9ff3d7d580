"""How much memory a model takes on a CUDA device, by its config.json and the size of its files."""

import json
from pathlib import Path

import pytest

from webapp.model_sizes import model_size

LLAMA_2_7B = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
SMOLLM_135M = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
WEIGHTS_OF_7B, WEIGHTS_OF_135M = 6_738_415_616, 134_515_008


def folder(tmp_path: Path, config: object, weights: int) -> Path:
    """A folder with a configuration and so many weights in 16 bits, which take no room on the disk."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(2 * weights)
    return tmp_path


@pytest.mark.parametrize(("precision", "gigabytes"), [("full", 13.48), ("fp32", 26.95), ("int8", 7.0), ("int4", 4.17)])
def test_weights_of_llama_2_7b_by_precision(tmp_path: Path, precision: str, gigabytes: float) -> None:
    size = model_size(folder(tmp_path, LLAMA_2_7B, WEIGHTS_OF_7B), precision=precision, positions=1)

    assert size.weight_bytes / 10**9 == pytest.approx(gigabytes, abs=0.01)


def test_embeddings_that_are_shared_count_once(tmp_path: Path) -> None:
    shared = model_size(folder(tmp_path, SMOLLM_135M, WEIGHTS_OF_135M), precision="int8", positions=1)

    assert shared.weight_bytes == WEIGHTS_OF_135M + 49152 * 576


@pytest.mark.parametrize(
    ("config", "positions", "slot_bytes"),
    [
        (LLAMA_2_7B, 3848, 3848 * 524_288),
        # The model has no more positions than that, and so the cache neither.
        (LLAMA_2_7B, 5572, 4096 * 524_288),
        ({**LLAMA_2_7B, "max_position_embeddings": 8192}, 5572, 5572 * 524_288),
        (SMOLLM_135M, 6656, 6656 * 23_040),
        ({**SMOLLM_135M, "head_dim": 128}, 1, 46_080),
        ({**LLAMA_2_7B, "num_key_value_heads": None}, 1, 524_288),
        ({"text_config": LLAMA_2_7B, "vocab_size": 5}, 1, 524_288),
        (LLAMA_2_7B, 0, 0),
    ],
    ids=["7B", "7B at its end", "longer", "grouped heads", "wide heads", "no groups", "text inside", "no cache"],
)
def test_generation_takes_its_positions_times_layers_heads_and_dimensions(
    tmp_path: Path, config: dict[str, object], positions: int, slot_bytes: int
) -> None:
    size = model_size(folder(tmp_path, config, WEIGHTS_OF_7B), precision="full", positions=positions)

    assert size.slot_bytes == slot_bytes


def test_full_precision_of_32_bits_has_a_cache_of_32_bits(tmp_path: Path) -> None:
    size = model_size(folder(tmp_path, SMOLLM_135M, WEIGHTS_OF_135M), precision="fp32", positions=10)

    assert size.slot_bytes == 10 * 2 * 23_040


@pytest.mark.parametrize("config", [{}, [], "text", {"hidden_size": "4096"}, {"hidden_size": True}, {"head_dim": -1}])
def test_without_a_configuration_the_weights_tell_roughly(tmp_path: Path, config: object) -> None:
    size = model_size(folder(tmp_path, config, WEIGHTS_OF_135M), precision="int4", positions=6656)

    # What it is in truth lies below both, and not far.
    assert 0.08 < size.weight_bytes / 10**9 < 0.2
    assert 6656 * 23_040 < size.slot_bytes < 6656 * 30_000


def test_gguf_file_is_guessed_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(round(WEIGHTS_OF_135M * 0.625))

    size = model_size(path, precision="full", positions=6656)

    assert size.weight_bytes == pytest.approx(2 * WEIGHTS_OF_135M, rel=0.01)
    assert 6656 * 23_040 < size.slot_bytes < 6656 * 30_000
