"""Helpers of the engine's tests: dispatches, a loop that steps a runner to its end, the plain reference."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast, RepetitionPenaltyLogitsProcessor

from webapp.engine.chat_template import prompt_token_ids
from webapp.engine.model import Chunk
from webapp.engine.runner import Runner
from webapp.engine.slot_model import SlotModel
from webapp.wire.generation import ChosenTokenLogprob, Delta, Failed, Finished, GenerationRequest, Started, ToolCall
from webapp.wire.messages import Dispatch, LeaseEvent

_leases = count(1)


def request(prompt: str = "Say hello.", **fields: Any) -> GenerationRequest:
    defaults: dict[str, Any] = {
        "model": "starter",
        "context_window": 1024,
        "max_tokens": 24,
        "seed": 7,
        "temperature": 0.0,
    }
    return GenerationRequest(**{**defaults, "prompt": prompt, **fields})


def dispatch(asked: GenerationRequest, *, token_ids: tuple[int, ...] = ()) -> Dispatch:
    lease = next(_leases)
    return Dispatch(generation_id=f"generation-{lease}", lease=lease, request=asked, token_ids=token_ids)


class PlainText:
    """A detokenizer that says one letter for every token id."""

    def push(self, token_id: int) -> str:
        return chr(ord("a") + token_id % 26)

    def flush(self) -> str:
        return ""


@dataclass
class Answer:
    """What one generation said, folded from its events; asserts that they are in order."""

    first_position: int = 0
    started: Started | None = None
    deltas: list[Delta] = field(default_factory=list)
    end: Finished | Failed | None = None

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(call for delta in self.deltas for call in delta.tool_calls)

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token_id for delta in self.deltas for token_id in delta.token_ids)

    @property
    def logprobs(self) -> tuple[ChosenTokenLogprob, ...]:
        return tuple(logprob for delta in self.deltas for logprob in delta.logprobs)

    def take(self, event: Started | Delta | Finished | Failed) -> None:
        assert self.end is None, "an event after the end"
        if isinstance(event, Started):
            self.started = event
        elif isinstance(event, Delta):
            assert event.position == self.first_position + len(self.token_ids)
            assert event.text or event.tool_calls
            self.deltas.append(event)
        else:
            self.end = event


class Drive:
    """A runner and the answers of what was started on it."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.answers: dict[int, Answer] = {}

    def start(self, asked: GenerationRequest, *, token_ids: tuple[int, ...] = ()) -> Answer:
        started = dispatch(asked, token_ids=token_ids)
        answer = self.answers[started.lease] = Answer(first_position=len(token_ids))
        self._take([self.runner.start(started)])
        return answer

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self._take(self.runner.step())

    def finish(self) -> None:
        while self.runner.leases:
            self.step()

    def abort(self, answer: Answer) -> None:
        self.runner.abort(self.lease(answer))

    def lease(self, answer: Answer) -> int:
        return next(lease for lease, other in self.answers.items() if other is answer)

    def _take(self, events: list[LeaseEvent]) -> None:
        for event in events:
            self.answers[event.lease].take(event.event)


def answer_of(runner: Runner, asked: GenerationRequest, *, token_ids: tuple[int, ...] = ()) -> Answer:
    """The answer to one request that runs alone."""
    drive = Drive(runner)
    answer = drive.start(asked, token_ids=token_ids)
    drive.finish()
    return answer


class Reference:
    """The plain model without a cache: one forward over prompt and completion says what greedy decoding picks."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model = model
        self._tokenizer = tokenizer
        assert isinstance(tokenizer.eos_token_id, int)
        self._end_id = tokenizer.eos_token_id

    def assert_picks(self, answer: Answer, asked: GenerationRequest) -> None:
        """Every token id of the answer is the most likely one after those before it, and so is its end."""
        assert isinstance(answer.end, Finished)
        token_ids = list(answer.token_ids)
        # The end of the turn has no text, so no delta carries it.
        if answer.end.usage.completion_tokens > len(token_ids):
            token_ids.append(self._end_id)
        assert token_ids, "an answer without tokens shows nothing"
        assert answer.end.usage.completion_tokens == len(token_ids)
        assert token_ids == self._picks(prompt_token_ids(self._tokenizer, asked), token_ids, asked)

    @torch.inference_mode()
    def _picks(self, prompt_ids: list[int], token_ids: list[int], asked: GenerationRequest) -> list[int]:
        inputs = torch.tensor([prompt_ids + token_ids[:-1]])
        logits = self.model(inputs, use_cache=False, logits_to_keep=len(token_ids)).logits[0].float()
        rows = [_penalised(row, prompt_ids, token_ids[:at], asked=asked) for at, row in enumerate(logits)]
        return [int(row.argmax()) for row in rows]


def _penalised(
    logits: torch.Tensor, prompt_ids: list[int], completion_ids: list[int], *, asked: GenerationRequest
) -> torch.Tensor:
    """By the words of the documents: transformers' own processor, then OpenAI's formula one token at a time."""
    if asked.repetition_penalty != 1.0:
        seen = torch.LongTensor([prompt_ids + completion_ids])
        logits = RepetitionPenaltyLogitsProcessor(asked.repetition_penalty)(seen, logits[None].clone())[0]
    logits = logits.clone()
    for token_id, times in Counter(completion_ids).items():
        logits[token_id] -= times * asked.frequency_penalty + asked.presence_penalty
    return logits


def spy_on_prefill(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all that is prefilled from now on."""
    prefilled: list[int] = []
    prefill = SlotModel.prefill

    def counted(model: SlotModel, chunks: list[Chunk]) -> None:
        prefilled.extend(len(chunk.token_ids) for chunk in chunks)
        prefill(model, chunks)

    monkeypatch.setattr(SlotModel, "prefill", counted)
    return prefilled
