"""Helpers of the engine's tests: dispatches, a loop that steps a runner to its end, the plain reference."""

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, RepetitionPenaltyLogitsProcessor

from webapp.engine.chat_template import prompt_token_ids
from webapp.engine.runner import Runner
from webapp.wire.generation import Delta, Failed, Finished, GenerationRequest, Started
from webapp.wire.messages import Dispatch, LeaseEvent

_leases = count(1)


def request(prompt: str = "Say hello.", **fields: Any) -> GenerationRequest:
    defaults = {"model": "starter", "context_window": 1024, "max_tokens": 24, "seed": 7, "temperature": 0.0}
    return GenerationRequest(**(defaults | {"prompt": prompt} | fields))


def dispatch(asked: GenerationRequest, *, token_ids: tuple[int, ...] = ()) -> Dispatch:
    lease = next(_leases)
    return Dispatch(generation_id=f"generation-{lease}", lease=lease, request=asked, token_ids=token_ids)


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
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token_id for delta in self.deltas for token_id in delta.token_ids)

    def take(self, event: Started | Delta | Finished | Failed) -> None:
        assert self.end is None, "an event after the end"
        if isinstance(event, Started):
            self.started = event
        elif isinstance(event, Delta):
            assert event.position == self.first_position + len(self.token_ids)
            assert event.text
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
    """Greedy decoding by the plain model, without a cache: the slowest and surest way."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model = model
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def token_ids(self, asked: GenerationRequest) -> tuple[int, ...]:
        """The completion, up to and without the end of the turn."""
        prompt_ids = prompt_token_ids(self._tokenizer, asked)
        token_ids = torch.tensor([prompt_ids])
        while token_ids.shape[1] < len(prompt_ids) + asked.max_tokens:
            logits = self._model(token_ids, use_cache=False, logits_to_keep=1).logits[:, -1].float()
            newest = self._penalised(logits, token_ids, prompt_tokens=len(prompt_ids), asked=asked).argmax(-1)
            if int(newest) == self._tokenizer.eos_token_id:
                break
            token_ids = torch.cat([token_ids, newest[:, None]], dim=1)
        return tuple(token_ids[0, len(prompt_ids) :].tolist())

    @staticmethod
    def _penalised(
        logits: torch.Tensor, token_ids: torch.Tensor, *, prompt_tokens: int, asked: GenerationRequest
    ) -> torch.Tensor:
        if asked.repetition_penalty != 1.0:
            logits = RepetitionPenaltyLogitsProcessor(asked.repetition_penalty)(token_ids, logits)
        logits = logits.clone()
        for token_id in token_ids[0, prompt_tokens:].tolist():
            logits[0, token_id] -= asked.frequency_penalty
        for token_id in set(token_ids[0, prompt_tokens:].tolist()):
            logits[0, token_id] -= asked.presence_penalty
        return logits
