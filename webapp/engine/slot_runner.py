"""The slot engine: continuous batching of one model's sequences, each in its own slot of a static cache.

A step reads a number of tokens, of one or more waiting prompts together, then decodes one token for every ready
sequence. Prefill covers all but the newest token; that one always goes through the decode step, so only there is
sampled.
"""

import logging

import msgspec
from transformers import PreTrainedTokenizerFast

from webapp.engine.chat_template import offered_form, prompt_token_ids
from webapp.engine.constraints import Constraints, GrammarConstraint
from webapp.engine.decoding import Decoder, NextToken, is_out_of_memory, raise_if_lost
from webapp.engine.detokenizer import TokenizerDetokenizer, open_ids, special_ids
from webapp.engine.errors import ContextWindowExceeded, EngineError, FeatureUnsupported, OutOfMemory
from webapp.engine.model import Chunk, Model
from webapp.engine.scheduler import Scheduler
from webapp.engine.sequence import Sequence
from webapp.engine.slots import Slot, SlotTable
from webapp.engine.token_bytes import TokenBytes
from webapp.engine.tool_calls import ToolFormat, parser_for
from webapp.wire.generation import ChosenTokenLogprob, Failed, GenerationRequest, Started, TokenLogprob
from webapp.wire.messages import Dispatch, LeaseEvent

_log = logging.getLogger(__name__)

# Prompt tokens that a step reads at least, however much each of them costs; for fewer the weights are not read again.
_FEWEST_AT_ONCE = 8


class SlotRunner:
    """A Runner over one model.

    `max_positions` bounds the positions of the cache that take memory at once; without it, all slots may be full.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerFast,
        *,
        end_ids: frozenset[int],
        precision: str,
        max_positions: int | None = None,
    ) -> None:
        self.device = model.device
        self.precision = precision
        self.capacity = model.slots
        self._model = model
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._open_ids = open_ids(tokenizer.backend_tokenizer)
        self._token_bytes = TokenBytes(tokenizer.backend_tokenizer)
        self._constraints = Constraints(tokenizer, end_ids=end_ids)
        self._slots = SlotTable(model.slots, model.cache)
        most = model.slots * model.slot_length
        self._scheduler = Scheduler(self._slots, max_positions=min(max_positions or most, most))
        self._decoder = Decoder(model, self._slots)

    @property
    def leases(self) -> tuple[int, ...]:
        return tuple(sequence.lease for sequence in self._scheduler.sequences)

    @property
    def memory_bytes(self) -> int:
        return self._model.memory_bytes(self._slots.held)

    def start(self, dispatch: Dispatch) -> LeaseEvent:
        try:
            sequence = self._sequence(dispatch)
            self._scheduler.add(sequence)
        except Exception as error:
            return _failed(dispatch, error)
        return _event(dispatch, Started(len(sequence.prompt_ids), self.device, self.precision))

    def abort(self, lease: int) -> None:
        for sequence in self._scheduler.sequences:
            if sequence.lease == lease:
                self._scheduler.drop(sequence)

    def count_tokens(self, request: GenerationRequest) -> int:
        return len(prompt_token_ids(self._tokenizer, request))

    def step(self) -> list[LeaseEvent]:
        events = self._end_complete()
        self._scheduler.admit()
        return events + self._prefill() + self._decode()

    def _sequence(self, dispatch: Dispatch) -> Sequence:
        request = dispatch.request
        self._check_adapter(request.adapter)
        prompt_ids = prompt_token_ids(self._tokenizer, request)
        context_window = min(request.context_window, self._model.slot_length - 1)
        if len(prompt_ids) > context_window:
            raise ContextWindowExceeded(
                prompt_tokens=len(prompt_ids), max_tokens=request.max_tokens, context_window=context_window
            )
        max_tokens = min(request.max_tokens, self._model.slot_length - len(prompt_ids))
        dispatch = msgspec.structs.replace(dispatch, request=msgspec.structs.replace(request, max_tokens=max_tokens))
        backend = self._tokenizer.backend_tokenizer
        form = offered_form(self._tokenizer, request)
        shown = special_ids(backend, (form.opening, form.closing)) if form else {}
        return Sequence(
            dispatch,
            prompt_ids,
            TokenizerDetokenizer(backend, open_ids=self._open_ids, shown=shown),
            self._end_ids,
            tool_calls=parser_for(request, form) if form else None,
            constraint=self._constraint(request, form, special=shown),
        )

    def _constraint(
        self, request: GenerationRequest, form: ToolFormat | None, *, special: dict[int, str]
    ) -> GrammarConstraint | None:
        if form:
            return self._constraints.of_tools(request, form, special=special)
        return None if request.json_schema is None else self._constraints.of_schema(request.json_schema)

    def _check_adapter(self, name: str | None) -> None:
        if name is not None and name not in self._model.adapters:
            raise FeatureUnsupported(f"This engine has no adapter {name}.")

    def _end_complete(self) -> list[LeaseEvent]:
        """The end of those that were dispatched complete."""
        complete = [sequence for sequence in self._scheduler.sequences if sequence.finish_reason]
        for sequence in complete:
            self._scheduler.drop(sequence)
        return [sequence.end() for sequence in complete]

    def _prefill(self) -> list[LeaseEvent]:
        events: list[LeaseEvent] = []
        # In tokens at the start of a prompt; those further on cost more.
        budget = float(self._chunk())
        self._scheduler.begin_turn()
        while budget >= _FEWEST_AT_ONCE:
            try:
                counts, budget = self._gather(budget)
            except OutOfMemory as error:
                # It is alone.
                return events + [self._fail(slot.sequence, error) for slot in self._slots if slot.sequence]
            if not counts:
                break
            events += self._read(counts)
        return events

    def _chunk(self) -> int:
        return self._model.prefill_chunk_beside_streams if self._scheduler.ready() else self._model.prefill_chunk

    def _gather(self, budget: float) -> tuple[dict[Slot, int], float]:
        """How many tokens of which prompts to read at once, and what that leaves of the budget. Raises OutOfMemory."""
        counts: dict[Slot, int] = {}
        while budget >= _FEWEST_AT_ONCE and (reading := self._scheduler.next_reading(int(budget), taken=counts)):
            cost = 1 + self._model.cost_of_context * len(reading.slot.cached_ids)
            counts[reading.slot] = min(reading.count, max(_FEWEST_AT_ONCE, int(budget / cost)))
            budget -= counts[reading.slot] * cost
        # At the end: to find the next one may copy what others hold, which takes memory too. Some may have to give way.
        return {slot: counts[slot] for slot in self._scheduler.secure(counts)}, budget

    def _read(self, counts: dict[Slot, int]) -> list[LeaseEvent]:
        """Prefill these; where that fails each alone, so that a bad prompt ends its own sequence only."""
        chunks = {slot: _chunk(slot, count) for slot, count in counts.items()}
        try:
            self._model.prefill(list(chunks.values()))
        except Exception as error:
            _log.warning("%d prompts cannot be read together; trying each alone", len(chunks), exc_info=error)
            if is_out_of_memory(error):
                self._free_memory()
            return [event for slot, chunk in chunks.items() for event in self._read_alone(slot, chunk)]
        for slot, chunk in chunks.items():
            slot.extend(chunk.token_ids)
        return []

    def _read_alone(self, slot: Slot, chunk: Chunk) -> list[LeaseEvent]:
        assert slot.sequence
        try:
            self._model.prefill([chunk])
        except Exception as error:
            return [self._fail(slot.sequence, error)]
        slot.extend(chunk.token_ids)
        return []

    def _decode(self) -> list[LeaseEvent]:
        ready = self._scheduler.ready()
        try:
            ready = self._scheduler.secure(dict.fromkeys(ready, 1))
        except OutOfMemory as error:
            return [self._fail(slot.sequence, error) for slot in ready if slot.sequence]
        if not ready:
            return []
        chosen = self._decoder.step(ready, free_memory=self._free_memory)
        return [event for slot, token in chosen for event in self._append(slot, token)]

    def _append(self, slot: Slot, token: NextToken | Exception) -> list[LeaseEvent]:
        sequence = slot.sequence
        assert sequence
        if isinstance(token, Exception):
            return [self._fail(sequence, token)]
        slot.extend([sequence.newest_token_id])
        try:
            events = sequence.append(token.token_id, self._logprob(sequence, token))
        except Exception as error:
            return [self._fail(sequence, error)]
        if sequence.finish_reason:
            self._scheduler.drop(sequence)
        return events

    def _logprob(self, sequence: Sequence, token: NextToken) -> ChosenTokenLogprob | None:
        if token.logprobs is None:
            return None
        is_first = not sequence.completion_ids

        def token_bytes(token_id: int) -> bytes:
            return self._token_bytes.of(token_id, is_first=is_first)

        top = (TokenLogprob(token_id, token_bytes(token_id), value) for token_id, value in token.logprobs.top)
        return ChosenTokenLogprob(token.token_id, token_bytes(token.token_id), token.logprobs.chosen, tuple(top))

    def _free_memory(self) -> None:
        self._scheduler.forget_idle()
        self._model.free_memory()

    def _fail(self, sequence: Sequence, error: Exception) -> LeaseEvent:
        # Before its slot is made zero, which a lost device cannot do.
        raise_if_lost(error)
        # What the cache holds of it may be half written, or no numbers at all.
        self._scheduler.drop(sequence, is_broken=True)
        return _failed(sequence.dispatch, error)


def _chunk(slot: Slot, count: int) -> Chunk:
    assert slot.sequence
    start = len(slot.cached_ids)
    return Chunk(slot.index, slot.sequence.token_ids[start : start + count], start, slot.adapter)


def _event(dispatch: Dispatch, event: Started | Failed) -> LeaseEvent:
    return LeaseEvent(dispatch.generation_id, dispatch.lease, event)


def _failed(dispatch: Dispatch, error: Exception) -> LeaseEvent:
    """The end of a generation that cannot go on. What is no EngineError is a defect, and logged. Raises DeviceLost."""
    raise_if_lost(error)
    if is_out_of_memory(error) and not isinstance(error, OutOfMemory):
        error = OutOfMemory("The engine ran out of memory.")
    if not isinstance(error, EngineError):
        _log.error("generation %s failed", dispatch.generation_id, exc_info=error)
        error = EngineError(f"The engine failed with {type(error).__name__}.")
    return _event(dispatch, Failed(error.code, str(error)))
