"""One decode step over all ready slots: each one's next token, or why it alone has none.

Knows the model, the sampler and slots, nothing of text or of events.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from webapp.engine.errors import DeviceLost, EngineError, OutOfMemory
from webapp.engine.logprobs import Logprobs, row_logprobs
from webapp.engine.model import Model, Row
from webapp.engine.sampling import Sampler
from webapp.engine.sequence import Sequence
from webapp.engine.slots import Slot, SlotTable

_log = logging.getLogger(__name__)

# What is said without a type of its own: by torch's allocator for the CPU (c10/core/impl/alloc_cpu.cpp), by CUDA where
# another than torch's allocator asks for memory, and by cuBLAS.
_ALLOCATOR_SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


@dataclass(frozen=True)
class NextToken:
    token_id: int
    logprobs: Logprobs | None


# In the order of the slots that were asked for.
Chosen = list[tuple[Slot, NextToken | Exception]]


class Decoder:
    """Decodes and samples. It changes nothing that a slot says it holds: a step that failed can be made again."""

    def __init__(self, model: Model, slots: SlotTable) -> None:
        self._model = model
        self._slots = slots
        self._sampler: Sampler | None = None

    def step(self, ready: list[Slot], *, free_memory: Callable[[], None]) -> Chosen:
        """The next token of each ready slot, or the error that is its alone.

        A step that fails is made once more, after `free_memory` where that was short; if it fails again, for each
        half of the slots, so that the others of one that always fails go on.
        """
        try:
            self._slots.gather(batch=self._model.batch)
            return self._attempt(ready)
        except Exception as error:
            _log.warning("a decode step of %d sequences failed; trying again", len(ready), exc_info=error)
            if is_out_of_memory(error):
                free_memory()
        # A failed move of slots leaves those with nothing cached, to be read again.
        ready = [slot for slot in ready if slot.is_ready]
        return self._in_parts(ready) if ready else []

    def _in_parts(self, slots: list[Slot]) -> Chosen:
        try:
            return self._attempt(slots)
        except Exception as error:
            if len(slots) == 1:
                return [(slots[0], error)]
        half = len(slots) // 2
        return self._in_parts(slots[:half]) + self._in_parts(slots[half:])

    def _attempt(self, slots: list[Slot]) -> Chosen:
        try:
            return self._decode(slots)
        except Exception:
            # It may have counted tokens that nobody has got.
            self._sampler = None
            raise

    def _decode(self, slots: list[Slot]) -> Chosen:
        sequences = [slot.sequence for slot in slots if slot.sequence]
        rows = [
            Row(slot.index, one.newest_token_id, one.position - 1, slot.adapter)
            for slot, one in zip(slots, sequences, strict=True)
        ]
        # Before the step: what is brought to a device waits for all that runs there.
        positions = torch.tensor([one.position for one in sequences], device=self._model.device)
        sampler = self._sampler_for(sequences)
        logits = self._model.decode(rows)
        chosen = sampler.sample(logits, positions)
        # The likeliest of a row that holds NaN is NaN.
        is_sound = logits.gather(-1, chosen[:, None])[:, 0].isfinite()
        token_ids, is_sound = torch.stack((chosen, is_sound.long())).tolist()
        logprobs = row_logprobs(logits, token_ids, [one.dispatch.request.logprobs for one in sequences])
        tokens = zip(token_ids, logprobs, is_sound, strict=True)
        outcomes = [NextToken(token_id, logprob) if sound else _unsound() for token_id, logprob, sound in tokens]
        return list(zip(slots, outcomes, strict=True))

    def _sampler_for(self, rows: list[Sequence]) -> Sampler:
        if self._sampler is None or not self._sampler.has_rows(rows):
            self._sampler = Sampler(rows, device=self._model.device)
        return self._sampler


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was short, of the device or of the host."""
    if isinstance(error, OutOfMemory | MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _ALLOCATOR_SIGNS)


def raise_if_lost(error: Exception) -> None:
    """Raises DeviceLost where a CUDA error has ended what this process can do on its device, as all but a lack of
    memory do (https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html)."""
    if isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error):
        raise DeviceLost(str(error)) from error


def _unsound() -> EngineError:
    return EngineError("The model's numbers are not finite.")
