"""Generations whose answer is known before they run, and others whose answer an undisturbed run tells."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.harness import PROJECT_FOLDER
from webapp.catalog import read_catalog
from webapp.engine.scripted_runner import ScriptedRunner
from webapp.wire.generation import Delta, GenerationRequest
from webapp.wire.messages import Dispatch

CATALOG = PROJECT_FOLDER / "tests" / "chaos" / "models.toml"
SCRIPTED_MODEL = "@jeton/scripted"
STARTER_MODEL = "@hf/huggingfacetb/smollm2-135m-instruct"
LARGEST_SEED = 2**31
STARTER_PROMPTS = (
    "Write a long story about a coin that could talk.",
    "Explain at length, to a ten-year-old, why the sky is blue.",
    "Tell the history of money in as many words as you can.",
    "Describe a walk through a market in the morning, in detail.",
)


@dataclass(frozen=True)
class Asked:
    """One generation as it is asked for, and how it has to end. `text` is None where nobody can know it yet."""

    model: str
    prompt: str
    seed: int
    max_tokens: int
    text: str | None = None
    error_code: str | None = None

    @property
    def form(self) -> dict[str, str]:
        """The fields of the playground's form."""
        return {
            "model": self.model,
            "prompt": self.prompt,
            "seed": str(self.seed),
            "max_tokens": str(self.max_tokens),
            "temperature": "0.8",
        }


@dataclass
class Scripts:
    """Makes answers of the scripted engine; their text is what the shipped engine says in this process."""

    chance: random.Random
    step_seconds: float
    _runner: ScriptedRunner = field(default_factory=lambda: ScriptedRunner(read_catalog(CATALOG).find(SCRIPTED_MODEL)))

    def many(self, count: int, *, seconds: float) -> list[Asked]:
        """Answers that take about so long each."""
        return [self.one(seconds=seconds) for _ in range(count)]

    def one(self, *, seconds: float) -> Asked:
        tokens = max(1, round(seconds / self.step_seconds))
        return self._ask(tokens, {})

    def failing(self, fault: str, error_code: str, *, after: int) -> Asked:
        """An answer that fails with this code after so many tokens, by a fault that a script can name."""
        return self._ask(after, {fault: after}, error_code)

    def rest(self, asked: Asked, token_ids: Sequence[int]) -> str:
        """What an engine says of this answer after these tokens."""
        return self._text(asked.max_tokens - 1, asked.seed, token_ids)

    def _ask(self, tokens: int, faults: dict[str, int], error_code: str | None = None) -> Asked:
        seed = self.chance.randrange(1, LARGEST_SEED)
        prompt = json.dumps({"tokens": tokens + len(faults), "step_seconds": self.step_seconds} | faults)
        return Asked(SCRIPTED_MODEL, prompt, seed, tokens + 1, self._text(tokens, seed), error_code)

    def _text(self, tokens: int, seed: int, token_ids: Sequence[int] = ()) -> str:
        prompt = json.dumps({"tokens": tokens})
        request = GenerationRequest(
            model=SCRIPTED_MODEL, context_window=1024, max_tokens=tokens + 1, seed=seed, prompt=prompt
        )
        self._runner.start(Dispatch(generation_id="", lease=1, request=request, token_ids=tuple(token_ids)))
        texts: list[str] = []
        while self._runner.leases:
            texts += [row.event.text for row in self._runner.step() if isinstance(row.event, Delta)]
        return "".join(texts)


def of_starter(chance: random.Random, *, count: int, max_tokens: int) -> list[Asked]:
    """Answers of the real starter model."""
    prompts = [STARTER_PROMPTS[number % len(STARTER_PROMPTS)] for number in range(count)]
    return [Asked(STARTER_MODEL, prompt, chance.randrange(1, LARGEST_SEED), max_tokens) for prompt in prompts]
