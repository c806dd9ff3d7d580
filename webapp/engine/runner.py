"""What an engine process drives: one model's continuous batch. Knows no sockets and no processes."""

from collections.abc import Callable
from typing import Protocol

from webapp.wire.generation import GenerationRequest
from webapp.wire.messages import Dispatch, LeaseEvent

# Called while a model loads, with the fraction done, between 0 and 1.
LoadProgress = Callable[[float], None]


class Runner(Protocol):
    """A continuous batch over one model.

    Only the engine process's main thread calls it. Every dispatched generation ends with exactly one
    Finished or Failed, unless it is aborted: then with nothing at all.
    """

    @property
    def device(self) -> str:
        """What it runs on: cpu, cuda:0, …"""
        ...

    @property
    def precision(self) -> str:
        """What the weights really are: int4, int8, bf16, fp16 or fp32"""
        ...

    @property
    def capacity(self) -> int:
        """Most generations that run at once."""
        ...

    @property
    def leases(self) -> tuple[int, ...]:
        """The leases of all generations that run."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Memory of weights and cache on the device."""
        ...

    def start(self, dispatch: Dispatch) -> LeaseEvent:
        """Take a generation into the batch: Started, or Failed where it cannot run (context window, no room)."""
        ...

    def abort(self, lease: int) -> None:
        """Drop the generation now; its place is free when this returns. An unknown lease is ignored."""
        ...

    def count_tokens(self, request: GenerationRequest) -> int:
        """How many tokens the prompt has, also where that is more than fits. Raises EngineError."""
        ...

    def step(self) -> list[LeaseEvent]:
        """One scheduler turn: some prefill, one decode step. With nothing running it returns at once."""
        ...
