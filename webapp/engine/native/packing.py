"""The weights of a model of the Llama family as decoder.cpp reads them, and their file in the cache.

Knows tensors and files, nothing of slots.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from webapp.engine.native.library import NativeLibrary, NativeUnavailable

if TYPE_CHECKING:
    # Takes seconds to import, and a packed model needs none of it.
    from transformers import PreTrainedModel

Bits = Literal[4, 16]

_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
# Those whose angles depend on the position alone.
_ROTARY_TYPES = ("default", "linear", "llama3", "yarn")
# Inputs that share a scale (BLOCK in decoder.cpp), and the sizes that its loops go by.
_BLOCK = 32
# Outputs of a tile (LANES in decoder.cpp).
_LANES = 16
_METADATA = "jeton"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What decoder.cpp needs to know besides the tensors. `bits` are those of a weight, the last matrix's apart."""

    bits: int
    head_bits: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocabulary: int
    max_positions: int
    # The most positions that attention looks back; None where it looks at all.
    window: int | None
    epsilon: float
    attention_scaling: float


@dataclass(frozen=True)
class PackedModel:
    """`tensors` by name: embeddings, inverse_frequencies, final_norm and head; for layer i `i.attention_norm`,
    `i.mlp_norm`, and the tiles of `i.query_key_value`, `i.output`, `i.gate_up` and `i.down`. Biases are `….bias`.
    """

    shape: Shape
    tensors: dict[str, Tensor]


@torch.no_grad()
def pack_model(model: "PreTrainedModel", library: NativeLibrary, *, bits: Bits) -> PackedModel:
    """The packed weights of `model`, whose layers go as they are packed. Raises NativeUnavailable before that."""
    config: Any = model.config.get_text_config()
    _check(model, config)
    base: Any = model.base_model
    last: Any = model.get_output_embeddings()
    head_bits = max(8, bits)
    tensors = {
        "embeddings": base.embed_tokens.weight.detach(),
        "inverse_frequencies": base.rotary_emb.inv_freq.float(),
        "final_norm": base.norm.weight.float(),
    }
    shape = Shape(
        bits=bits,
        head_bits=head_bits,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        head_dim=base.layers[0].self_attn.head_dim,
        vocabulary=len(last.weight),
        max_positions=config.max_position_embeddings,
        window=getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None,
        epsilon=config.rms_norm_eps,
        attention_scaling=base.rotary_emb.attention_scaling,
    )
    tensors |= _matrix("head", last, library=library, bits=head_bits)
    for index in range(shape.layers):
        layer: Any = base.layers[index]
        attention, mlp = layer.self_attn, layer.mlp
        tensors[f"{index}.attention_norm"] = layer.input_layernorm.weight.float()
        tensors[f"{index}.mlp_norm"] = layer.post_attention_layernorm.weight.float()
        for name, linears in (
            ("query_key_value", (attention.q_proj, attention.k_proj, attention.v_proj)),
            ("output", (attention.o_proj,)),
            ("gate_up", (mlp.gate_proj, mlp.up_proj)),
            ("down", (mlp.down_proj,)),
        ):
            tensors |= _matrix(f"{index}.{name}", *linears, library=library, bits=bits)
        # A large model's layers would not fit twice.
        base.layers[index] = nn.Identity()
    return PackedModel(shape, tensors)


def write_packed(packed: PackedModel, path: Path) -> None:
    """Write the file whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {_METADATA: msgspec.json.encode(packed.shape).decode()}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        try:
            save_file(packed.tensors, unfinished, metadata=metadata)
        except SafetensorError as error:
            # What it says of a full disk.
            raise OSError(str(error)) from error
        unfinished.replace(path)


def read_packed(path: Path) -> PackedModel | None:
    """What `write_packed` has written; None where there is no such file, or it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            shape = msgspec.json.decode(file.metadata()[_METADATA], type=Shape)
            # Copies: the file's tensors begin anywhere, and vectors are read faster from where a cache line begins.
            return PackedModel(shape, {name: file.get_tensor(name).clone() for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, msgspec.MsgspecError):
        return None


def _matrix(name: str, *linears: nn.Linear, library: NativeLibrary, bits: int) -> dict[str, Tensor]:
    """The outputs of several linear layers of the same inputs, one after the other."""
    weights = torch.cat([linear.weight for linear in linears]).float()
    outputs, inputs = weights.shape
    tiles = torch.empty(library.packed_bytes(outputs, inputs, bits), dtype=torch.uint8)
    library.pack(weights.data_ptr(), tiles.data_ptr(), outputs=outputs, inputs=inputs, bits=bits)
    if all(linear.bias is None for linear in linears):
        return {name: tiles}
    biases = [linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias for linear in linears]
    whole = torch.cat(biases).float()
    # The last tile reads all its lanes.
    return {name: tiles, f"{name}.bias": nn.functional.pad(whole, (0, -len(whole) % _LANES))}


def _check(model: "PreTrainedModel", config: Any) -> None:  # noqa: ANN401 - every architecture has a class of its own
    if type(model).__name__ not in _ARCHITECTURES:
        raise NativeUnavailable(f"it knows no {type(model).__name__}")
    rotary = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rotary not in _ROTARY_TYPES:
        raise NativeUnavailable(f"it knows no rotary embedding of type {rotary}")
    if config.hidden_act != "silu":
        raise NativeUnavailable(f"it knows no activation {config.hidden_act}")
    base: Any = model.base_model
    head_dim = base.layers[0].self_attn.head_dim
    sizes = (config.hidden_size, config.intermediate_size, head_dim)
    if any(size % _BLOCK for size in sizes):
        raise NativeUnavailable(f"its sizes {sizes} are not all multiples of {_BLOCK}")
    if 2 * len(base.rotary_emb.inv_freq) != head_dim:
        raise NativeUnavailable("it knows no heads of which a part is turned")
    # Those of bitsandbytes and others are quantised already, and keep their scales elsewhere.
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if len(linears) != 7 * config.num_hidden_layers + 1 or any(
        type(linear) is not nn.Linear or not linear.weight.is_floating_point() for linear in linears
    ):
        raise NativeUnavailable("its layers are not plain ones")
