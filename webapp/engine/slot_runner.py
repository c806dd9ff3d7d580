"""The slot engine: continuous batching of one model's sequences, each in its own slot of a static cache.

A step reads at most one chunk of waiting prompts, then decodes one token for every ready sequence. Prefill
covers all but the newest token; that one always goes through the decode step, so only there is sampled.
"""

import logging

import msgspec
import torch
from transformers import PreTrainedTokenizerFast

from webapp.engine.chat_template import prompt_token_ids
from webapp.engine.detokenizer import TokenizerDetokenizer, open_ids
from webapp.engine.errors import ContextWindowExceeded, EngineError, NoFreeSlot, OutOfMemory
from webapp.engine.sampling import Sampler
from webapp.engine.sequence import Sequence
from webapp.engine.slot_model import Row, SlotModel
from webapp.engine.slots import Slot, SlotTable
from webapp.wire.generation import Failed, Started
from webapp.wire.messages import Dispatch, LeaseEvent

_log = logging.getLogger(__name__)

# The most prompt tokens of one step: more would make running streams stall, and an abort wait. On 2 cores the
# starter model reads 512 tokens in 0.64 s at once, in 0.72 s as two chunks, in 0.9 s as four of 0.25 s each.
_CHUNK_ON_CUDA = 512
_CHUNK_ON_CPU = 256
_CHUNK_BESIDE_STREAMS_ON_CPU = 128


class SlotRunner:
    """A Runner over one transformers model."""

    def __init__(
        self, model: SlotModel, tokenizer: PreTrainedTokenizerFast, *, end_ids: frozenset[int], precision: str
    ) -> None:
        self.device = model.device
        self.precision = precision
        self.capacity = model.slots
        self._model = model
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._open_ids = open_ids(tokenizer.backend_tokenizer)
        self._slots = SlotTable(model.slots)
        # Prompts are read in the order they came.
        self._prefilling: list[Slot] = []
        self._sampler: Sampler | None = None

    @property
    def leases(self) -> tuple[int, ...]:
        return tuple(slot.sequence.lease for slot in self._slots if slot.sequence)

    @property
    def memory_bytes(self) -> int:
        if self.device.startswith("cuda"):
            return torch.cuda.memory_allocated(self.device)
        positions = sum(slot.high_water for slot in self._slots)
        return self._model.weight_bytes + positions * self._model.cache.bytes_per_position

    def start(self, dispatch: Dispatch) -> LeaseEvent:
        try:
            sequence = self._sequence(dispatch)
            self._admit(sequence)
        except Exception as error:
            return _failed(dispatch, error)
        return _event(dispatch, Started(len(sequence.prompt_ids), self.device, self.precision))

    def abort(self, lease: int) -> None:
        for slot in self._slots:
            if slot.sequence and slot.sequence.lease == lease:
                self._release(slot)

    def step(self) -> list[LeaseEvent]:
        return self._end_complete() + self._prefill() + self._decode()

    def _sequence(self, dispatch: Dispatch) -> Sequence:
        request = dispatch.request
        prompt_ids = prompt_token_ids(self._tokenizer, request)
        context_window = min(request.context_window, self._model.slot_length - 1)
        if len(prompt_ids) > context_window:
            raise ContextWindowExceeded(
                prompt_tokens=len(prompt_ids), max_tokens=request.max_tokens, context_window=context_window
            )
        max_tokens = min(request.max_tokens, self._model.slot_length - len(prompt_ids))
        dispatch = msgspec.structs.replace(dispatch, request=msgspec.structs.replace(request, max_tokens=max_tokens))
        detokenizer = TokenizerDetokenizer(self._tokenizer.backend_tokenizer, open_ids=self._open_ids)
        return Sequence(dispatch, prompt_ids, detokenizer, self._end_ids)

    def _admit(self, sequence: Sequence) -> None:
        if not self._slots.has_room:
            raise NoFreeSlot(f"All {self.capacity} slots of this engine are taken.")
        token_ids = sequence.prompt_ids + sequence.completion_ids
        slot, reuse = self._slots.find(token_ids)
        if reuse.length and reuse.source is not slot:
            slot.cached_ids = []
            self._model.cache.copy(reuse.source.index, slot.index, length=reuse.length)
        slot.hold(sequence, cached_ids=token_ids[: reuse.length])
        self._prefilling.append(slot)

    def _release(self, slot: Slot) -> None:
        self._slots.release(slot)
        if slot in self._prefilling:
            self._prefilling.remove(slot)

    def _end_complete(self) -> list[LeaseEvent]:
        """The end of those that were dispatched complete."""
        complete = [slot for slot in self._prefilling if slot.sequence and slot.sequence.finish_reason]
        events = [slot.sequence.end() for slot in complete if slot.sequence]
        for slot in complete:
            self._release(slot)
        return events

    def _prefill(self) -> list[LeaseEvent]:
        events: list[LeaseEvent] = []
        budget = self._chunk()
        while self._prefilling and budget > 0:
            slot = self._prefilling[0]
            assert slot.sequence
            dispatch = slot.sequence.dispatch
            try:
                budget -= self._prefill_chunk(slot, slot.sequence, at_most=budget)
            except Exception as error:
                self._release(slot)
                events.append(_failed(dispatch, error))
            else:
                if slot.is_ready:
                    self._prefilling.remove(slot)
        return events

    def _chunk(self) -> int:
        if self.device != "cpu":
            return _CHUNK_ON_CUDA
        is_decoding = any(slot.is_ready for slot in self._slots)
        return _CHUNK_BESIDE_STREAMS_ON_CPU if is_decoding else _CHUNK_ON_CPU

    def _prefill_chunk(self, slot: Slot, sequence: Sequence, *, at_most: int) -> int:
        start = len(slot.cached_ids)
        chunk = (sequence.prompt_ids + sequence.completion_ids)[start:-1][:at_most]
        if chunk:
            self._model.prefill(slot.index, chunk, start=start)
            slot.extend(chunk)
        return len(chunk)

    def _decode(self) -> list[LeaseEvent]:
        ready = [slot for slot in self._slots if slot.is_ready]
        if not ready:
            return []
        try:
            token_ids = self._decode_step()
        except Exception as error:
            # What the cache holds of these may be half written; what each slot says it holds is not.
            return [self._fail(slot, error) for slot in ready]
        return [event for slot in ready for event in self._append(slot, token_ids[slot.index])]

    def _decode_step(self) -> list[int]:
        batch = self._slots.gather(batch=self._model.batch, swap=self._swap)
        sequences = [slot.sequence if slot.is_ready else None for slot in self._slots.first(batch)]
        rows = [
            Row((sequence.completion_ids or sequence.prompt_ids)[-1], sequence.position - 1) if sequence else None
            for sequence in sequences
        ]
        logits = self._model.decode(rows)
        positions = torch.tensor([row.position + 1 if row else 0 for row in rows], device=self.device)
        return self._sampler_for(sequences).sample(logits, positions).tolist()

    def _sampler_for(self, sequences: list[Sequence | None]) -> Sampler:
        if self._sampler is None or not self._sampler.has_rows(sequences):
            self._sampler = Sampler(sequences, device=self.device)
        return self._sampler

    def _append(self, slot: Slot, token_id: int) -> list[LeaseEvent]:
        sequence = slot.sequence
        assert sequence
        slot.extend([(sequence.completion_ids or sequence.prompt_ids)[-1]])
        try:
            events = sequence.append(token_id)
        except Exception as error:
            return [self._fail(slot, error)]
        if sequence.finish_reason:
            self._release(slot)
        return events

    def _swap(self, one: Slot, other: Slot) -> None:
        length = max(len(one.cached_ids), len(other.cached_ids))
        self._model.cache.swap(one.index, other.index, length=length)

    def _fail(self, slot: Slot, error: Exception) -> LeaseEvent:
        assert slot.sequence
        dispatch = slot.sequence.dispatch
        self._release(slot)
        self._sampler = None
        return _failed(dispatch, error)


def _event(dispatch: Dispatch, event: Started | Failed) -> LeaseEvent:
    return LeaseEvent(dispatch.generation_id, dispatch.lease, event)


def _failed(dispatch: Dispatch, error: Exception) -> LeaseEvent:
    """The end of a generation that cannot go on. What is no EngineError is a defect, and logged."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        error = OutOfMemory("The engine ran out of memory.")
    if not isinstance(error, EngineError):
        _log.error("generation %s failed", dispatch.generation_id, exc_info=error)
        error = EngineError(f"The engine failed with {type(error).__name__}.")
    return _event(dispatch, Failed(error.code, str(error)))
