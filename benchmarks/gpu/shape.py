"""The shapes of the models that are measured: how many weights they have, and what of them a token reads.

Arithmetic only: no weight is here.
"""

from dataclasses import dataclass
from typing import Literal

Variant = Literal["fp16", "int8"]

# Bytes of a weight that is not in 8 bits, and of a key or value.
_WIDE = 2
# bitsandbytes keeps one fp32 scale for each row of an int8 matrix.
_SCALE_BYTES = 4


@dataclass(frozen=True)
class Shape:
    """A Llama without grouped heads, whose output layer is not its embedding."""

    name: str
    title: str
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    vocabulary: int
    positions: int

    @property
    def parameters(self) -> int:
        norms = (2 * self.layers + 1) * self.hidden_size
        return self.linear_weights + 2 * self._table + norms

    @property
    def linear_weights(self) -> int:
        """Those of the layers' matrices: what int8 has in 8 bits."""
        attention, feed_forward = 4 * self.hidden_size**2, 3 * self.hidden_size * self.intermediate_size
        return self.layers * (attention + feed_forward)

    @property
    def cache_bytes(self) -> int:
        """Of one position: a key and a value in each layer."""
        return 2 * self.layers * self.hidden_size * _WIDE

    def bytes_read(self, variant: Variant) -> int:
        """What one decode step reads of the weights: all, but of the embedding one row for each stream."""
        if variant == "fp16":
            return _WIDE * (self.parameters - self._table)
        scales = self.layers * (5 * self.hidden_size + 2 * self.intermediate_size) * _SCALE_BYTES
        norms = (2 * self.layers + 1) * self.hidden_size
        return self.linear_weights + scales + _WIDE * (self._table + norms)

    def bytes_held(self, variant: Variant) -> int:
        """What the weights take in memory."""
        return self.bytes_read(variant) + _WIDE * self._table

    @property
    def _table(self) -> int:
        """The weights of the embedding, and as many of the output layer."""
        return self.vocabulary * self.hidden_size

    def config(self, dtype: str) -> dict[str, object]:
        """What transformers' config.json holds of it. No end token: every text has its full length."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "hidden_act": "silu",
            "max_position_embeddings": self.positions,
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000.0,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            "vocab_size": self.vocabulary,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": 0,
            "dtype": dtype,
        }


# meta-llama/Llama-2-7b-hf's config.json, but for `positions`, which is 4096 there: the published limit of the fp16
# variant is 3072 tokens in and 2500 out. Positions cost no weight.
LLAMA_2_7B = Shape(
    name="llama-2-7b",
    title="the architecture of Llama-2 7B",
    hidden_size=4096,
    layers=32,
    heads=32,
    intermediate_size=11008,
    vocabulary=32000,
    positions=6144,
)
SMALL = Shape(
    name="small",
    title="a small Llama",
    hidden_size=128,
    layers=2,
    heads=4,
    intermediate_size=256,
    vocabulary=512,
    positions=6144,
)
SHAPES = {shape.name: shape for shape in (LLAMA_2_7B, SMALL)}
