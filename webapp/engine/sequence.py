"""One running generation inside an engine: its token ids, its text, its limits, its end.

Knows token ids and text, nothing of tensors: every runner shares it.
"""

from dataclasses import dataclass, field

from webapp.engine.text import Detokenizer, StopSequences
from webapp.wire.generation import ChosenTokenLogprob, Delta, EngineEvent, Finished, FinishReason, Usage
from webapp.wire.messages import Dispatch, LeaseEvent


@dataclass
class Sequence:
    """A dispatched generation and what it has produced so far.

    `prompt_ids` is the tokenised prompt; `completion_ids` starts with what an earlier engine produced.
    Feeding those through the detokenizer again rebuilds what was held back, so the text goes on where
    the last delta ended.
    """

    dispatch: Dispatch
    prompt_ids: list[int]
    detokenizer: Detokenizer
    end_ids: frozenset[int]
    completion_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    # Grows with every sequence that a runner takes: the smallest is the oldest.
    arrival: int = 0

    def __post_init__(self) -> None:
        self._stop = StopSequences(self.dispatch.request.stop)
        self._emitted = len(self.dispatch.token_ids)
        # Of the tokens that no delta has carried yet.
        self._logprobs: list[ChosenTokenLogprob] = []
        for token_id in self.dispatch.token_ids:
            self._take(token_id)

    @property
    def lease(self) -> int:
        return self.dispatch.lease

    @property
    def position(self) -> int:
        """Tokens before the next one, prompt included: the position that keys its sampling."""
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def most_positions(self) -> int:
        """Tokens at its end, if nothing ends it sooner."""
        return len(self.prompt_ids) + self.dispatch.request.max_tokens

    @property
    def token_ids(self) -> list[int]:
        """Prompt and completion so far."""
        return self.prompt_ids + self.completion_ids

    @property
    def newest_token_id(self) -> int:
        return (self.completion_ids or self.prompt_ids)[-1]

    def append(self, token_id: int, logprob: ChosenTokenLogprob | None = None) -> list[LeaseEvent]:
        """Take the next token; the events it makes, of which Finished is the last. Sets `finish_reason` at the end.

        `logprob` comes with every token of a request that asks for them.
        """
        if logprob:
            self._logprobs.append(logprob)
        text = self._take(token_id)
        if self.finish_reason and not self._stop.is_met:
            text += self._stop.push(self.detokenizer.flush()) + self._stop.flush()
        events: list[EngineEvent] = [self._delta(text)] if text else []
        if self.finish_reason:
            events.append(self._finished(self.finish_reason))
        return [self._event(event) for event in events]

    def end(self) -> LeaseEvent:
        """Finished, for a sequence that was dispatched complete: only its end had been lost."""
        assert self.finish_reason
        return self._event(self._finished(self.finish_reason))

    def _take(self, token_id: int) -> str:
        self.completion_ids.append(token_id)
        is_end = token_id in self.end_ids
        text = "" if is_end else self._stop.push(self.detokenizer.push(token_id))
        if is_end or self._stop.is_met:
            self.finish_reason = "stop"
        elif len(self.completion_ids) >= self.dispatch.request.max_tokens:
            self.finish_reason = "length"
        return text

    def _event(self, event: EngineEvent) -> LeaseEvent:
        return LeaseEvent(self.dispatch.generation_id, self.lease, event)

    def _finished(self, reason: FinishReason) -> Finished:
        return Finished(reason, Usage(len(self.prompt_ids), len(self.completion_ids)))

    def _delta(self, text: str) -> Delta:
        delta = Delta(self._emitted, text, tuple(self.completion_ids[self._emitted :]), tuple(self._logprobs))
        self._emitted = len(self.completion_ids)
        self._logprobs = []
        return delta
