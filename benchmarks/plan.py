"""What is measured: configurations, and which contender runs in which of them. Knows no processes."""

from dataclasses import dataclass
from typing import Literal

MAX_TOKENS = 128
TEMPERATURE, TOP_P, TOP_K = 0.7, 0.9, 50
# Enough of an answer that every shape the real one passes through has been seen: 500 tokens and these are over 512.
WARM_UP_TOKENS = 24
# Tokens of a prompt without the chat template around it, which adds about 30 for every contender.
PROMPT_TOKENS = {"short": 30, "long": 500, "book": 1900}

Length = Literal["short", "long", "book"]


@dataclass(frozen=True)
class Configuration:
    """One shape of load: so many streams at once, each with a prompt of its own."""

    streams: int
    length: Length
    is_sampled: bool
    # Rounds beyond this many leave it out: what takes a minute steadies itself.
    most_rounds: int = 1_000

    @property
    def name(self) -> str:
        return f"{'sampled' if self.is_sampled else 'greedy'}/{self.length}/{self.streams}"


MATRIX = (
    Configuration(1, "short", is_sampled=True),
    Configuration(4, "short", is_sampled=True),
    Configuration(16, "short", is_sampled=True),
    Configuration(32, "short", is_sampled=True, most_rounds=1),
    Configuration(1, "long", is_sampled=True),
    Configuration(16, "long", is_sampled=True, most_rounds=2),
    Configuration(1, "short", is_sampled=False),
    Configuration(16, "short", is_sampled=False, most_rounds=1),
)
QUICK_MATRIX = MATRIX[:3]


def rotated(items: list[str], by: int) -> list[str]:
    """The items in the same circle, another one first: no contender always runs after the same other."""
    by %= max(1, len(items))
    return items[by:] + items[:by]
