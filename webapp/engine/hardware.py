"""What is done differently on a processor and on a CUDA device (`cuda`); all else in the engine is the same.

Knows tensors, nothing of models.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from webapp.engine.attention import Attention, HeadShape, SdpaAttention
from webapp.engine.cpu import has_fast_bf16
from webapp.engine.cuda import Cuda
from webapp.engine.decode_steps import DecodeSteps, EagerSteps, Step
from webapp.engine.int8_product import Int8Product, multiply_on_processor
from webapp.engine.pages import anonymous_zeros, give_back
from webapp.settings import CudaGraphs


class Hardware(Protocol):
    """One device. `name` is cpu, cuda:0, …"""

    name: str
    # The most prompt tokens of one step, alone and while others wait for their next token.
    prefill_chunk: int
    prefill_chunk_beside_streams: int

    def full_dtype(self, files: torch.dtype | None) -> torch.dtype:
        """The type in which a model runs that is not quantised, whose files hold `files`."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor for the key/value cache."""
        ...

    def give_back(self, part: Tensor) -> None:
        """Make a contiguous part of such a tensor zero, and give its memory back where that can be done."""
        ...

    def attention(self, heads: HeadShape) -> Attention:
        """The fastest attention there is for such heads."""
        ...

    def int8_product(self, dtype: torch.dtype) -> Int8Product:
        """The fastest way of multiplying rows of this type with weights of 8 bits."""
        ...

    def decode_steps(self, step: Step, *, layers: Sequence[nn.Module]) -> DecodeSteps:
        """How decode steps of fixed shapes are run fastest; `layers` are those of the model that may be compiled."""
        ...

    def memory_bytes(self, counted: int) -> int:
        """What is taken of the device's memory, of which the caller can count so much."""
        ...

    def free_memory(self) -> None:
        """Give back what is kept for later."""
        ...


class Processor:
    """The CPU. Memory of the cache is taken page by page, as it is used."""

    name = "cpu"
    # More would make running streams stall, and an abort wait. On 2 cores the starter model in bf16 reads 512 tokens
    # in 0.64 s at once, in 0.72 s as two chunks, in 0.9 s as four of 0.25 s each.
    prefill_chunk = 256
    prefill_chunk_beside_streams = 128

    def full_dtype(self, files: torch.dtype | None) -> torch.dtype:
        return torch.bfloat16 if has_fast_bf16() else torch.float32

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        # torch.zeros writes all of it. An anonymous mapping is zero too, and takes memory only where it is written.
        return anonymous_zeros(shape, dtype)

    def give_back(self, part: Tensor) -> None:
        give_back(part)

    def attention(self, heads: HeadShape) -> Attention:
        return SdpaAttention()

    def int8_product(self, dtype: torch.dtype) -> Int8Product:
        return multiply_on_processor

    def decode_steps(self, step: Step, *, layers: Sequence[nn.Module]) -> DecodeSteps:
        return EagerSteps(step, device=self.name)

    def memory_bytes(self, counted: int) -> int:
        return counted

    def free_memory(self) -> None:
        pass


def hardware(name: str, *, cuda_graphs: CudaGraphs = "compiled") -> Hardware:
    """The device of this name: cpu, cuda:0, …"""
    return Processor() if name == "cpu" else Cuda(name, graphs=cuda_graphs)
