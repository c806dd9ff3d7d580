"""What is done differently on a CUDA device: its number formats, its memory, decode steps as graphs.

Knows tensors and layers, nothing of models or slots.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from webapp.engine.attention import Attention, HeadShape
from webapp.engine.decode_steps import Captured, CapturedSteps, DecodeSteps, EagerSteps, Step, Way
from webapp.engine.flash_attention import find_flash_attention
from webapp.engine.int8_product import Int8Product, find_int8_product
from webapp.settings import CudaGraphs

_HALVES = (torch.bfloat16, torch.float16)
# Before a capture all that is made at a first use has to be there: handles, workspaces, compiled kernels.
_WARM_UPS = 2
# A layer is compiled once for each number of rows; past dynamo's own limit of 8 it would run as written.
_MOST_SHAPES = 64
# What turns a graph of operations into something that runs, or the name of such a compiler.
Backend = str | Callable[..., Callable[..., object]]


class Cuda:
    """One CUDA device. All of the cache is taken at once."""

    # 7 billion weights read so many tokens about as fast as they make three: no stream stalls for long.
    prefill_chunk = 512
    prefill_chunk_beside_streams = 512

    def __init__(self, name: str, *, graphs: CudaGraphs = "compiled") -> None:
        # Streams, graphs and compiled kernels are made for the current one.
        torch.cuda.set_device(name)
        self.name = name
        self._graphs = graphs

    def full_dtype(self, files: torch.dtype | None) -> torch.dtype:
        """The files' own 16 bits, so that no weight is rounded; of other files those with the larger range."""
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        if files in _HALVES and (has_bf16 or files is torch.float16):
            return files
        return torch.bfloat16 if has_bf16 else torch.float16

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.name)

    def give_back(self, part: Tensor) -> None:
        part.zero_()

    def attention(self, heads: HeadShape) -> Attention:
        return find_flash_attention(heads, device=self.name)

    def int8_product(self, dtype: torch.dtype) -> Int8Product:
        return find_int8_product(self.name, dtype)

    def decode_steps(self, step: Step, *, layers: Sequence[nn.Module]) -> DecodeSteps:
        if self._graphs == "off":
            return EagerSteps(step, device=self.name)
        # Each with a pool of its own: torch takes no capture into one that a failed capture was made in.
        ways = [Way("captured as CUDA graphs", nullcontext, CudaGraphCapture(self.name).capture)]
        if self._graphs == "compiled" and layers:
            capture = CudaGraphCapture(self.name).capture
            ways.insert(0, Way("compiled and captured as CUDA graphs", lambda: compiled_layers(layers), capture))
        return CapturedSteps(step, device=self.name, ways=ways)

    def memory_bytes(self, counted: int) -> int:
        return torch.cuda.memory_reserved(self.name)

    def free_memory(self) -> None:
        torch.cuda.empty_cache()


class CudaGraphCapture:
    """Captures as CUDA graphs, all of which share one pool of memory: only one is replayed at a time."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def capture(self, run: Callable[[], Tensor]) -> Captured:
        # As https://docs.pytorch.org/docs/stable/notes/cuda.html says: warm up on another stream, then capture there.
        present = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(present)
        graph = torch.cuda.CUDAGraph()
        # Around both: a capture that fails would leave its stream the current one for good.
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                run()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                output = run()
        present.wait_stream(self._stream)
        return Captured(output, graph.replay)


@contextmanager
def compiled_layers(layers: Sequence[nn.Module], *, backend: Backend = "inductor") -> Iterator[None]:
    """Meanwhile these layers run compiled, for exactly the shapes they are called with; afterwards as they were.

    Layers of one kind share what is compiled: it is made once for each number of rows, not once for each layer.
    """
    # It takes seconds, which an engine on a processor does not need.
    from torch._inductor import config as inductor

    # In this process: workers of the compiler's own would outlive an engine that is killed.
    limits = {"recompile_limit": _MOST_SHAPES, "accumulated_recompile_limit": _MOST_SHAPES * 8}
    with torch._dynamo.config.patch(limits), inductor.patch(compile_threads=1):
        for layer in layers:
            layer.forward = torch.compile(layer.forward, dynamic=False, backend=backend)
        try:
            yield
        finally:
            for layer in layers:
                del layer.forward
