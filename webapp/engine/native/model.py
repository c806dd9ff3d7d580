"""A transformers model of the Llama family, decoded by decoder.cpp, with weights in 4 or 16 bits.

transformers reads the weights and computes the rotary embedding; from then on its layers are not needed.
Knows tensors and slots, nothing of sequences, sampling or text.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from webapp.engine.native.cache import GROUP, NativeCache
from webapp.engine.native.library import LayerStruct, MatrixStruct, ModelStruct, NativeLibrary, NativeUnavailable
from webapp.engine.slot_model import Row

_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
# Those whose angles depend on the position alone.
_ROTARY_TYPES = ("default", "linear", "llama3", "yarn")
# Inputs that share a scale (BLOCK in decoder.cpp), and the sizes that its loops go by.
_BLOCK = 32


class NativeModel:
    """One model and its cache. A slot holds one sequence of at most `slot_length` tokens.

    `bits` of a weight: 16 (bf16), or 4 in blocks of 32 that share a scale; the last matrix, which chooses the token,
    then has 8.

    A row's logits are the same, to the bit, whatever else is computed beside it, and however its prompt was cut
    into chunks.
    """

    device = "cpu"
    # 1,700 prompt tokens a second on two cores for the starter model. Beside streams a chunk is one more wait between
    # two of their tokens.
    prefill_chunk = 256
    prefill_chunk_beside_streams = 48

    def __init__(
        self, model: PreTrainedModel, library: NativeLibrary, *, bits: Literal[4, 16], slots: int, slot_length: int
    ) -> None:
        """Takes the layers of `model` away as it packs them. Raises NativeUnavailable before that."""
        config = model.config.get_text_config()
        _check(model, config)
        self.slots = slots
        self.slot_length = min(slot_length, getattr(config, "max_position_embeddings", None) or slot_length)
        self._library = library
        # What the structures point to.
        self._kept: list[Tensor] = []
        base: Any = model.base_model
        last: Any = model.get_output_embeddings()
        head_dim = base.layers[0].self_attn.head_dim
        self.cache = NativeCache(
            layers=config.num_hidden_layers,
            slots=slots,
            slot_length=self.slot_length,
            heads=config.num_key_value_heads,
            head_dim=head_dim,
        )
        with torch.no_grad():
            positions = torch.arange(self.cache.slot_length)[None]
            cosines, sines = base.rotary_emb(torch.zeros(1), positions)
            head = self._matrix(last, bits=max(8, bits))
            layers = [self._layer(base.layers, index, bits) for index in range(config.num_hidden_layers)]
        self._struct = ModelStruct(
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.num_attention_heads,
            key_value_heads=config.num_key_value_heads,
            head_dim=head_dim,
            slot_length=self.cache.slot_length,
            layer_count=config.num_hidden_layers,
            epsilon=config.rms_norm_eps,
            scale=head_dim**-0.5,
            cosines=self._keep(cosines),
            sines=self._keep(sines),
            layers=(LayerStruct * len(layers))(*layers),
            final_norm=self._keep(base.norm.weight),
            head=head,
        )
        self._embeddings = base.embed_tokens
        self._vocabulary = head.outputs
        self.weight_bytes = sum(tensor.nbytes for tensor in self._kept) + self._embeddings.weight.nbytes

    def prefill(self, slot: int, token_ids: list[int], *, start: int) -> None:
        """Put the keys and values of `token_ids` into a slot, from position `start` on. Raises MemoryError."""
        rows = [Row(slot, token_id, position) for position, token_id in enumerate(token_ids, start)]
        self._forward(rows, logits=None)

    def batch(self, slots: int) -> int:
        """Rows cost what they are, wherever they stand: as if a step had always the same number of them."""
        return 1

    def decode(self, rows: list[Row]) -> Tensor:
        """The logits after each row's token, float32, of shape (rows, vocabulary). Raises MemoryError."""
        logits = torch.empty(len(rows), self._vocabulary)
        self._forward(rows, logits=logits)
        return logits

    @torch.inference_mode()
    def _forward(self, rows: list[Row], *, logits: Tensor | None) -> None:
        hidden = self._embeddings(torch.tensor([row.token_id for row in rows])).float().contiguous()
        places = torch.tensor([(row.slot, row.position) for row in rows], dtype=torch.int32)
        self._library.forward(
            self._struct, hidden.data_ptr(), places.data_ptr(), len(rows), None if logits is None else logits.data_ptr()
        )

    def _layer(self, layers: nn.ModuleList, index: int, bits: int) -> LayerStruct:
        layer: Any = layers[index]
        attention, mlp = layer.self_attn, layer.mlp
        struct = LayerStruct(
            query_key_value=self._matrix(attention.q_proj, attention.k_proj, attention.v_proj, bits=bits),
            output=self._matrix(attention.o_proj, bits=bits),
            gate_up=self._matrix(mlp.gate_proj, mlp.up_proj, bits=bits),
            down=self._matrix(mlp.down_proj, bits=bits),
            attention_norm=self._keep(layer.input_layernorm.weight),
            mlp_norm=self._keep(layer.post_attention_layernorm.weight),
            keys=self.cache.keys[index].data_ptr(),
            values=self.cache.values[index].data_ptr(),
        )
        # A large model's layers would not fit twice.
        layers[index] = nn.Identity()
        return struct

    def _matrix(self, *linears: nn.Linear, bits: int) -> MatrixStruct:
        """The outputs of several linear layers of the same inputs, one after the other."""
        weights = torch.cat([linear.weight for linear in linears]).float()
        outputs, inputs = weights.shape
        tiles = torch.empty(self._library.packed_bytes(outputs, inputs, bits), dtype=torch.uint8)
        self._library.pack(weights.data_ptr(), outputs, inputs, bits, tiles.data_ptr())
        self._kept.append(tiles)
        return MatrixStruct(tiles.data_ptr(), self._bias(linears), inputs, outputs, bits)

    def _bias(self, linears: tuple[nn.Linear, ...]) -> int | None:
        if all(linear.bias is None for linear in linears):
            return None
        parts = [
            linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias for linear in linears
        ]
        whole = torch.cat(parts).float()
        # The last tile reads all its lanes.
        return self._keep(nn.functional.pad(whole, (0, -len(whole) % GROUP)))

    def _keep(self, tensor: Tensor) -> int:
        tensor = tensor.detach().float().contiguous()
        self._kept.append(tensor)
        return tensor.data_ptr()


def _check(model: PreTrainedModel, config: Any) -> None:  # noqa: ANN401 - every architecture has a class of its own
    if type(model).__name__ not in _ARCHITECTURES:
        raise NativeUnavailable(f"it knows no {type(model).__name__}")
    rotary = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rotary not in _ROTARY_TYPES:
        raise NativeUnavailable(f"it knows no rotary embedding of type {rotary}")
    if config.hidden_act != "silu":
        raise NativeUnavailable(f"it knows no activation {config.hidden_act}")
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if window and window < config.max_position_embeddings:
        raise NativeUnavailable("it knows no sliding window")
    base: Any = model.base_model
    sizes = (config.hidden_size, config.intermediate_size, base.layers[0].self_attn.head_dim)
    if any(size % _BLOCK for size in sizes):
        raise NativeUnavailable(f"its sizes {sizes} are not all multiples of {_BLOCK}")
