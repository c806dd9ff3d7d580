"""One running generation inside an engine: its token ids, its text, its limits, its end.

Knows token ids and text, nothing of tensors: every runner shares it.
"""

from dataclasses import dataclass, field

from webapp.engine.text import Constraint, Detokenizer, StopSequences
from webapp.engine.tool_calls import Said, ToolCallParser
from webapp.wire.generation import ChosenTokenLogprob, Delta, EngineEvent, Finished, FinishReason, Usage
from webapp.wire.messages import Dispatch, LeaseEvent


@dataclass
class Sequence:
    """A dispatched generation and what it has produced so far.

    `prompt_ids` is the tokenised prompt; `completion_ids` starts with what an earlier engine produced.
    Feeding those through the detokenizer again rebuilds what was held back, so the text goes on where
    the last delta ended. The same ids bring `tool_calls` and `constraint` to where they were.
    """

    dispatch: Dispatch
    prompt_ids: list[int]
    detokenizer: Detokenizer
    end_ids: frozenset[int]
    completion_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    # Takes the calls out of the text, where there are tools.
    tool_calls: ToolCallParser | None = None
    # What the next token may be; None where it may be any.
    constraint: Constraint | None = None
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
        said = self._take(token_id)
        events: list[EngineEvent] = [self._delta(said)] if said.text or said.tool_calls else []
        if self.finish_reason:
            events.append(self._finished(self.finish_reason))
        return [self._event(event) for event in events]

    def end(self) -> LeaseEvent:
        """Finished, for a sequence that was dispatched complete: only its end had been lost."""
        assert self.finish_reason
        return self._event(self._finished(self.finish_reason))

    def _take(self, token_id: int) -> Said:
        self.completion_ids.append(token_id)
        is_end = token_id in self.end_ids
        if self.constraint:
            self.constraint.advance(token_id)
        said = Said("") if is_end else self._say(self.detokenizer.push(token_id))
        if is_end or self._is_whole:
            self.finish_reason = "stop"
        elif len(self.completion_ids) >= self.dispatch.request.max_tokens:
            self.finish_reason = "length"
        return self._with_rest(said) if self.finish_reason else said

    @property
    def _is_whole(self) -> bool:
        """Whether nothing may follow, though the model has not ended its text."""
        return (
            self._stop.is_met
            or (self.tool_calls is not None and self.tool_calls.is_done)
            or (self.constraint is not None and self.constraint.is_complete)
        )

    def _say(self, text: str) -> Said:
        said = self.tool_calls.push(text) if self.tool_calls else Said(text)
        return Said(self._stop.push(said.text), said.tool_calls)

    def _with_rest(self, said: Said) -> Said:
        """What is said at the end: what was held back, too."""
        rest = self._say(self.detokenizer.flush())
        last = self._stop.push(self.tool_calls.flush() if self.tool_calls else "") + self._stop.flush()
        return Said(said.text + rest.text + last, said.tool_calls + rest.tool_calls)

    def _event(self, event: EngineEvent) -> LeaseEvent:
        return LeaseEvent(self.dispatch.generation_id, self.lease, event)

    def _finished(self, reason: FinishReason) -> Finished:
        return Finished(reason, Usage(len(self.prompt_ids), len(self.completion_ids)))

    def _delta(self, said: Said) -> Delta:
        token_ids = tuple(self.completion_ids[self._emitted :])
        delta = Delta(self._emitted, said.text, token_ids, tuple(self._logprobs), said.tool_calls)
        self._emitted = len(self.completion_ids)
        self._logprobs = []
        return delta
