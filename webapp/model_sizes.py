"""About how much memory a model takes on a CUDA device, from its config.json and the size of its files.

Reads no weight, knows no catalogue and no device.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from webapp.weight_files import count_weights

# Bytes of a weight in the layers; embeddings and the last matrix stay in 16 bits in int8 and int4. int4 is
# bitsandbytes' nf4: half a byte, and four bytes for each 64 weights.
_BYTES_PER_WEIGHT = {"full": 2.0, "fp32": 4.0, "int8": 1.0, "int4": 0.5625}
_HALF = 2
# Where there is no config.json, as with a GGUF file: these are small models, whose embeddings are a large part.
_SHARE_OF_EMBEDDINGS = 0.25
# And a position's keys and values are fewer numbers than one for each so many weights: one for 11,700 in SmolLM2
# 135M, for 25,700 in Llama 2 7B.
_WEIGHTS_PER_NUMBER = 10_000


@dataclass(frozen=True)
class ModelSize:
    """Bytes of all weights, and of the keys and values of one generation of full length."""

    weight_bytes: int
    slot_bytes: int


def model_size(path: Path, *, precision: str, positions: int) -> ModelSize:
    """The size of the model in this folder or file, whose generations have at most so many positions."""
    weights = count_weights(path)
    config = _read_config(path)
    positions = min(positions, _integer(config, "max_position_embeddings") or positions)
    return ModelSize(
        weight_bytes=round(_weight_bytes(weights, config, precision)),
        slot_bytes=round(positions * _position_bytes(weights, config, 4 if precision == "fp32" else _HALF)),
    )


def _weight_bytes(weights: float, config: dict[str, object], precision: str) -> float:
    per_weight = _BYTES_PER_WEIGHT[precision]
    if per_weight >= _HALF:
        return weights * per_weight
    matrices = 1 if config.get("tie_word_embeddings") else 2
    embeddings = _integer(config, "vocab_size") * _integer(config, "hidden_size") * matrices
    kept = min(weights, embeddings or weights * _SHARE_OF_EMBEDDINGS)
    return (weights - kept) * per_weight + kept * _HALF


def _position_bytes(weights: float, config: dict[str, object], number_bytes: int) -> float:
    """Keys and values of one position in all layers."""
    heads = _integer(config, "num_attention_heads")
    head_dim = _integer(config, "head_dim") or _integer(config, "hidden_size") // max(1, heads)
    shared_heads = _integer(config, "num_key_value_heads") or heads
    numbers = 2 * _integer(config, "num_hidden_layers") * shared_heads * head_dim
    return (numbers or weights / _WEIGHTS_PER_NUMBER) * number_bytes


def _read_config(folder: Path) -> dict[str, object]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(config, dict):
        return {}
    # Models of text and pictures have the one of the text inside.
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def _integer(config: dict[str, object], name: str) -> int:
    number = config.get(name)
    return number if isinstance(number, int) and number > 0 else 0
