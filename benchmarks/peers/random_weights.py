"""Writes the weights of a Llama whose configuration stands in a folder: random, the same for a seed and a device.

They are scaled as trained ones are: what goes through the layers keeps its size, and the likeliest token is neither
certain nor one of thousands alike. A few channels are far larger than the others, as in large trained models
(LLM.int8, arXiv 2208.07339, finds six at 6.7 billion weights): that is what int8 has to cope with.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

_LARGE_CHANNELS = 6
_LARGE = 8.0
# The standard deviation of a logit: with 32,000 tokens the likeliest has about a sixth of the probability.
_LOGIT_DEVIATION = 4.0

Config = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    config = json.loads((arguments.folder / "config.json").read_bytes())
    draw = torch.Generator(arguments.device).manual_seed(arguments.seed)
    files: dict[str, str] = {}
    size = 0
    for number, tensors in enumerate(_shards(config, draw)):
        name = f"model-{number:05}.safetensors"
        save_file(tensors, arguments.folder / name, metadata={"format": "pt"})
        files |= dict.fromkeys(tensors, name)
        size += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": files}
    (arguments.folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def _shards(config: Config, draw: torch.Generator) -> Iterator[dict[str, Tensor]]:
    """One for each layer, and one for what is before and after them."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield _on_cpu(
        {
            "model.embed_tokens.weight": _matrix(config, draw, vocabulary, hidden, deviation=1.0),
            "model.norm.weight": _norm(config, draw, is_last=True),
            "lm_head.weight": _matrix(config, draw, vocabulary, hidden, deviation=_LOGIT_DEVIATION * hidden**-0.5),
        }
    )
    for layer in range(config["num_hidden_layers"]):
        yield _on_cpu(_layer(config, draw, f"model.layers.{layer}"))


def _layer(config: Config, draw: torch.Generator, name: str) -> dict[str, Tensor]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    # Both add to what goes through all layers: so that it grows by no more than its own size.
    adding = (2 * config["num_hidden_layers"]) ** -0.5
    shapes = {
        "self_attn.q_proj": (hidden, hidden, 1.0),
        "self_attn.k_proj": (hidden, hidden, 1.0),
        "self_attn.v_proj": (hidden, hidden, 1.0),
        "self_attn.o_proj": (hidden, hidden, adding),
        "mlp.gate_proj": (inner, hidden, 1.0),
        "mlp.up_proj": (inner, hidden, 1.0),
        "mlp.down_proj": (hidden, inner, adding),
    }
    matrices = {
        f"{name}.{part}.weight": _matrix(config, draw, rows, columns, deviation=scale * columns**-0.5)
        for part, (rows, columns, scale) in shapes.items()
    }
    norms = {f"{name}.{part}_layernorm.weight": _norm(config, draw) for part in ("input", "post_attention")}
    return matrices | norms


def _matrix(config: Config, draw: torch.Generator, rows: int, columns: int, *, deviation: float) -> Tensor:
    dtype = getattr(torch, config["dtype"])
    return torch.randn(rows, columns, generator=draw, device=draw.device, dtype=torch.float32).mul_(deviation).to(dtype)


def _norm(config: Config, draw: torch.Generator, *, is_last: bool = False) -> Tensor:
    weights = torch.ones(config["hidden_size"], device=draw.device)
    if not is_last:
        weights[torch.randperm(len(weights), generator=draw, device=draw.device)[:_LARGE_CHANNELS]] = _LARGE
    return weights.to(getattr(torch, config["dtype"]))


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}


if __name__ == "__main__":
    main()
