"""A packed model over a cache of slots, decoded by decoder.cpp: token ids and positions in, logits out.

Knows tensors and slots, nothing of sequences, sampling or text.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from webapp.engine.model import Chunk, Row
from webapp.engine.native.cache import NativeCache
from webapp.engine.native.library import LayerStruct, MatrixStruct, ModelStruct, NativeLibrary, NativeUnavailable
from webapp.engine.native.packing import PackedModel


class NativeModel:
    """One model and its cache. A slot holds one sequence of at most `slot_length` tokens.

    A row's logits are the same, to the bit, whatever else is computed beside it, and however its prompt was cut
    into chunks.
    """

    device = "cpu"
    # A catalogue entry that has some runs without this decoder.
    adapters: frozenset[str] = frozenset()
    # 1,700 prompt tokens a second on two cores for the starter model. Beside streams a chunk is one more wait between
    # two of their tokens.
    prefill_chunk = 256
    prefill_chunk_beside_streams = 48
    # Measured with 48 tokens: 25 ms at the start, 70 ms after 1,900 others.
    cost_of_context = 1 / 1000

    def __init__(self, packed: PackedModel, library: NativeLibrary, *, slots: int, slot_length: int) -> None:
        """Raises NativeUnavailable where attention looks back at less than a slot holds."""
        shape = packed.shape
        self.slots = slots
        self.slot_length = min(slot_length, shape.max_positions)
        if shape.window and shape.window < self.slot_length:
            raise NativeUnavailable(f"it knows no sliding window, and this one has {shape.window} positions")
        self.cache = NativeCache(
            layers=shape.layers,
            slots=slots,
            slot_length=self.slot_length,
            heads=shape.key_value_heads,
            head_dim=shape.head_dim,
        )
        self._library = library
        self._embeddings = packed.tensors["embeddings"]
        self._vocabulary = shape.vocabulary
        angles = _angles(packed.tensors["inverse_frequencies"], self.cache.slot_length, shape.attention_scaling)
        self._tensors = packed.tensors | angles
        self.weight_bytes = sum(tensor.nbytes for tensor in self._tensors.values())
        layers = [self._layer(index, packed) for index in range(shape.layers)]
        self._struct = ModelStruct(
            hidden=shape.hidden,
            intermediate=shape.intermediate,
            heads=shape.heads,
            key_value_heads=shape.key_value_heads,
            head_dim=shape.head_dim,
            slot_length=self.cache.slot_length,
            layer_count=shape.layers,
            epsilon=shape.epsilon,
            scale=shape.head_dim**-0.5,
            cosines=self._address("cosines"),
            sines=self._address("sines"),
            layers=(LayerStruct * shape.layers)(*layers),
            final_norm=self._address("final_norm"),
            head=self._matrix("head", inputs=shape.hidden, outputs=shape.vocabulary, bits=shape.head_bits),
        )

    def prepare(self, on_progress: Callable[[float], None]) -> None:
        """Nothing is left to do."""

    def prefill(self, chunks: Sequence[Chunk]) -> None:
        """Put the keys and values of all chunks into the cache. Raises MemoryError."""
        assert not any(chunk.adapter for chunk in chunks)
        rows = [
            Row(chunk.slot, token_id, position)
            for chunk in chunks
            for position, token_id in enumerate(chunk.token_ids, chunk.start)
        ]
        self._forward(rows, logits=None)

    def decode(self, rows: list[Row]) -> Tensor:
        """The logits after each row's token, float32, of shape (rows, vocabulary). Raises MemoryError."""
        logits = torch.empty(len(rows), self._vocabulary)
        self._forward(rows, logits=logits)
        return logits

    def batch(self, slots: int) -> int:
        """Rows cost what they are, wherever they stand: as if a step had always the same number of them."""
        return 1

    def memory_bytes(self, held: int) -> int:
        """Memory of weights and cache, of which `held` positions are in use."""
        return self.weight_bytes + held * self.cache.bytes_per_position

    def free_memory(self) -> None:
        """Nothing is kept for later."""

    @torch.inference_mode()
    def _forward(self, rows: list[Row], *, logits: Tensor | None) -> None:
        hidden = self._embeddings[torch.tensor([row.token_id for row in rows])].float()
        places = torch.tensor([(row.slot, row.position) for row in rows], dtype=torch.int32)
        self._library.forward(
            self._struct,
            hidden=hidden.data_ptr(),
            rows=places.data_ptr(),
            count=len(rows),
            logits=None if logits is None else logits.data_ptr(),
        )

    def _layer(self, index: int, packed: PackedModel) -> LayerStruct:
        shape = packed.shape
        queries, keys = shape.heads * shape.head_dim, shape.key_value_heads * shape.head_dim
        return LayerStruct(
            query_key_value=self._matrix(
                f"{index}.query_key_value", inputs=shape.hidden, outputs=queries + 2 * keys, bits=shape.bits
            ),
            output=self._matrix(f"{index}.output", inputs=queries, outputs=shape.hidden, bits=shape.bits),
            gate_up=self._matrix(
                f"{index}.gate_up", inputs=shape.hidden, outputs=2 * shape.intermediate, bits=shape.bits
            ),
            down=self._matrix(f"{index}.down", inputs=shape.intermediate, outputs=shape.hidden, bits=shape.bits),
            attention_norm=self._address(f"{index}.attention_norm"),
            mlp_norm=self._address(f"{index}.mlp_norm"),
            keys=self.cache.keys[index].data_ptr(),
            values=self.cache.values[index].data_ptr(),
        )

    def _matrix(self, name: str, *, inputs: int, outputs: int, bits: int) -> MatrixStruct:
        assert self._tensors[name].nbytes == self._library.packed_bytes(outputs, inputs, bits)
        bias = self._address(f"{name}.bias") if f"{name}.bias" in self._tensors else None
        return MatrixStruct(self._address(name), bias, inputs, outputs, bits)

    def _address(self, name: str) -> int:
        return self._tensors[name].data_ptr()


def _angles(inverse_frequencies: Tensor, positions: int, scaling: float) -> dict[str, Tensor]:
    """The cosines and sines of all positions, (positions, head_dim), as transformers' rotary embeddings have them."""
    half = torch.outer(torch.arange(positions).float(), inverse_frequencies)
    angles = torch.cat((half, half), dim=-1)
    return {"cosines": angles.cos() * scaling, "sines": angles.sin() * scaling}
