"""Counting beside what runs: one question a turn, a rest after each, and none that takes the engine with it."""

from dataclasses import dataclass, field

import pytest

from webapp.engine import token_counts
from webapp.engine.errors import InvalidPrompt
from webapp.engine.token_counts import (
    FEWEST_CHARACTERS,
    MOST_CHARACTERS,
    MOST_WAITING,
    REST,
    STALE_SECONDS,
    TokenCounts,
)
from webapp.wire.generation import GenerationRequest, Message
from webapp.wire.messages import CountTokens, TokensCounted

WEB = b"web"


@dataclass
class Counter:
    """Of a runner, what is asked here."""

    clock: "Clock"
    leases: tuple[int, ...] = ()
    seconds_per_word: float = 1.0
    error: Exception | None = None

    def count_tokens(self, request: GenerationRequest) -> int:
        if self.error:
            raise self.error
        words = len((request.prompt or "").split())
        self.clock.now += words * self.seconds_per_word
        return words


@dataclass
class Clock:
    now: float = 100.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Asked:
    counts: TokenCounts = field(default_factory=TokenCounts)
    given_up: list[TokensCounted] = field(default_factory=list)

    def ask(self, ask: int, prompt: str = "one two", *, context_window: int = 100) -> None:
        request = GenerationRequest(model="m", context_window=context_window, max_tokens=1, seed=1, prompt=prompt)
        self.given_up += self.counts.add(CountTokens(asker=WEB, ask=ask, request=request))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(token_counts, "time", clock)
    return clock


def test_questions_are_answered_in_order_one_each_turn(clock: Clock) -> None:
    asked, runner = Asked(), Counter(clock, seconds_per_word=0.1)
    asked.ask(1, "one")
    asked.ask(2)

    answers = [asked.counts.answer(runner) for _ in range(3)]

    assert answers == [
        [TokensCounted(asker=WEB, ask=1, prompt_tokens=1)],
        [TokensCounted(asker=WEB, ask=2, prompt_tokens=2)],
        [],
    ]


def test_while_generations_run_counting_rests_longer_than_it_took(clock: Clock) -> None:
    asked, runner = Asked(), Counter(clock, leases=(1,))
    asked.ask(1)
    assert len(asked.counts.answer(runner)) == 1

    clock.now += 2 * REST - 0.1
    asked.ask(2)
    assert asked.counts.answer(runner) == [] and len(asked.counts) == 1
    clock.now += 0.2

    assert [counted.ask for counted in asked.counts.answer(runner)] == [2]


def test_with_nothing_running_counting_does_not_rest(clock: Clock) -> None:
    asked, runner = Asked(), Counter(clock, seconds_per_word=0.1)
    asked.ask(1)
    asked.ask(2)

    assert asked.counts.answer(runner) and asked.counts.answer(runner)


def test_question_for_whose_answer_nobody_waits_any_more_is_left_out(clock: Clock) -> None:
    asked, runner = Asked(), Counter(clock)
    asked.ask(1)
    clock.now += STALE_SECONDS + 0.1
    asked.ask(2)

    assert [counted.ask for counted in asked.counts.answer(runner)] == [2]
    assert len(asked.counts) == 0


def test_oldest_of_too_many_questions_goes_without_a_count(clock: Clock) -> None:
    asked = Asked()
    for ask in range(MOST_WAITING + 2):
        asked.ask(ask)

    assert asked.given_up == [TokensCounted(asker=WEB, ask=0), TokensCounted(asker=WEB, ask=1)]
    assert len(asked.counts) == MOST_WAITING


@pytest.mark.parametrize(
    ("context_window", "most"),
    [(100, FEWEST_CHARACTERS), (4096, 12 * 4096), (1_000_000, MOST_CHARACTERS)],
    ids=["short", "medium", "long"],
)
def test_prompt_that_is_far_too_long_is_not_read(clock: Clock, context_window: int, most: int) -> None:
    asked, runner = Asked(), Counter(clock)
    runner.seconds_per_word = 0.0
    asked.ask(1, "x" * most, context_window=context_window)
    asked.ask(2, "x" * most + "x", context_window=context_window)

    (counted,), (refused,) = asked.counts.answer(runner), asked.counts.answer(runner)

    assert counted.prompt_tokens == 1
    assert (refused.prompt_tokens, refused.code) == (None, "ContextWindowExceeded")
    assert f"{most + 1} characters" in refused.message


def test_all_of_a_conversation_counts_as_characters(clock: Clock) -> None:
    messages = tuple(Message("user", "x" * 1000) for _ in range(21))
    request = GenerationRequest(model="m", context_window=100, max_tokens=1, seed=1, messages=messages)
    counts = TokenCounts()
    counts.add(CountTokens(asker=WEB, ask=1, request=request))

    (refused,) = counts.answer(Counter(clock))

    assert refused.code == "ContextWindowExceeded"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InvalidPrompt("No system turn."), "InvalidPrompt", "No system turn."),
        (RuntimeError("the secret prompt"), "EngineFailure", "The engine failed with RuntimeError."),
    ],
    ids=["the prompt's", "the engine's"],
)
def test_prompt_that_cannot_be_counted_is_told_and_logged_nowhere(
    clock: Clock, caplog: pytest.LogCaptureFixture, error: Exception, code: str, message: str
) -> None:
    asked = Asked()
    asked.ask(1)

    assert asked.counts.answer(Counter(clock, error=error)) == [
        TokensCounted(asker=WEB, ask=1, code=code, message=message)
    ]
    assert "secret" not in caplog.text
