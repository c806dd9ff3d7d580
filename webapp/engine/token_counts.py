"""Counts the tokens of prompts that somebody is still writing, beside the generations that run. Knows no sockets."""

import logging
import time
from collections import deque

from webapp.engine.errors import EngineError
from webapp.engine.runner import Runner
from webapp.wire.generation import GenerationRequest
from webapp.wire.messages import CountTokens, TokensCounted

_log = logging.getLogger(__name__)

# Questions that wait; past that the oldest goes without a count, which its writer has most likely typed past.
MOST_WAITING = 8
# After so long nobody waits for the answer any more (the web's COUNT_SECONDS).
STALE_SECONDS = 1.0
# While generations run, counting rests this many times as long as it took: they lose a fifth of the time at most.
REST = 4.0
# A tokenizer reads about a million characters a second (measured on a CPU), and everything waits for it. A prompt that
# has so many characters for each token that fits is too long, whatever they are; a short window allows the fewest.
CHARACTERS_PER_TOKEN = 12
FEWEST_CHARACTERS = 20_000
MOST_CHARACTERS = 200_000


class TokenCounts:
    """The questions that wait, oldest first, each with when it came."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, CountTokens]] = deque()
        self._rests_until = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, question: CountTokens) -> list[TokensCounted]:
        """Take a question; what is given up for it is answered with no count."""
        self._waiting.append((time.monotonic(), question))
        return [_given_up(self._waiting.popleft()[1])] if len(self._waiting) > MOST_WAITING else []

    def answer(self, runner: Runner) -> list[TokensCounted]:
        """At most one answer, and none while generations run that have just waited for another."""
        started_at = time.monotonic()
        while self._waiting and started_at - self._waiting[0][0] > STALE_SECONDS:
            self._waiting.popleft()
        if not self._waiting or (runner.leases and started_at < self._rests_until):
            return []
        counted = _count(runner, self._waiting.popleft()[1])
        ended_at = time.monotonic()
        self._rests_until = ended_at + REST * (ended_at - started_at)
        return [counted]


def _count(runner: Runner, question: CountTokens) -> TokensCounted:
    asker, ask = question.asker, question.ask
    if reason := _too_long(question.request):
        return TokensCounted(asker=asker, ask=ask, code="ContextWindowExceeded", message=reason)
    try:
        return TokensCounted(asker=asker, ask=ask, prompt_tokens=runner.count_tokens(question.request))
    except EngineError as error:
        return TokensCounted(asker=asker, ask=ask, code=error.code, message=str(error))
    except Exception as error:
        # Whatever a tokenizer raises, it must not end the generations that run; what it says may quote the prompt.
        _log.error("tokens cannot be counted: %s", type(error).__name__)
        message = f"The engine failed with {type(error).__name__}."
        return TokensCounted(asker=asker, ask=ask, code=EngineError.code, message=message)


def _too_long(request: GenerationRequest) -> str | None:
    most = min(max(CHARACTERS_PER_TOKEN * request.context_window, FEWEST_CHARACTERS), MOST_CHARACTERS)
    characters = sum(map(len, request.texts()))
    if characters <= most:
        return None
    return f"The prompt has {characters} characters; tokens are counted of up to {most}."


def _given_up(question: CountTokens) -> TokensCounted:
    return TokensCounted(asker=question.asker, ask=question.ask)
