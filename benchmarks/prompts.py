"""Prompts of a wanted length, every one different, the same in every run.

They ask for long answers, so that few stop early.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.plan import PROMPT_TOKENS, Length

_PEOPLE = (
    "a lighthouse keeper", "an old clockmaker", "a young botanist", "a tired ferry captain", "a village baker",
    "a retired astronomer", "a travelling puppeteer", "a stubborn beekeeper", "a night-train conductor",
    "a mountain doctor", "a map maker", "a piano tuner", "a harbour pilot", "a schoolteacher", "a stonemason",
)  # fmt: skip
_DEEDS = (
    "finds a locked green box", "repairs a broken bridge", "writes letters to the sea", "follows a white fox",
    "builds a boat in the cellar", "hears bells under the lake", "paints every door blue", "loses a silver key",
    "plants a forest of pears", "teaches crows to count", "maps the rooms of a ruin", "waits for a late ship",
)  # fmt: skip
_PLACES = (
    "on a small northern island", "in a valley of vineyards", "near a frozen canal", "at the edge of a desert",
    "in a town of stairs", "beside a slow brown river", "under a row of lime trees", "behind the old station",
    "in a house with forty windows", "along the salt marshes", "in a market of spices", "above the tree line",
)  # fmt: skip
_TIMES = (
    "one windy autumn", "during a long winter", "in the driest summer", "early in spring", "after the great flood",
    "before the harvest", "on the last day of March", "in the year of two comets", "while the war went on",
)  # fmt: skip
_OPENINGS = (
    "Once",
    "Then",
    "Later",
    "Often",
    "At first",
    "Meanwhile",
    "In the end",
    "Some say",
    "By noon",
    "That night",
)
_TASKS: dict[Length, str] = {
    "short": "Tell this as a very long story.",
    "long": "Tell all of this again as a very long story.",
    "book": "Tell all of this again as a very long story.",
}


@dataclass(frozen=True)
class Prompt:
    """What one stream asks. `seed` is for those contenders that take one."""

    text: str
    seed: int


class PromptMaker:
    """Makes prompts; counts with the model's own tokenizer."""

    def __init__(self, tokenizer_file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def token_ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def make(self, key: str, streams: int, *, length: Length) -> list[Prompt]:
        """A prompt for each stream. The same key gives the same prompts."""
        return self._make(key, streams, tokens=PROMPT_TOKENS[length], task=_TASKS[length])

    def make_of(self, key: str, streams: int, *, tokens: int) -> list[Prompt]:
        """The same, with any number of tokens."""
        return self._make(key, streams, tokens=tokens, task=_TASKS["long"])

    def _make(self, key: str, streams: int, *, tokens: int, task: str) -> list[Prompt]:
        draws = [random.Random(f"{key}/{stream}") for stream in range(streams)]
        return [Prompt(self._text(draw, tokens, task), draw.randrange(1, 1 << 31)) for draw in draws]

    def _text(self, draw: random.Random, wanted: int, task: str) -> str:
        """Sentences, the last one cut so that story and task have the wanted number of tokens, or one or two fewer."""
        words = _sentence(draw).split()
        while self.count(f"{' '.join(words)} {task}") < wanted:
            words += _sentence(draw).split()
        while self.count(f"{' '.join(words)}. {task}") > wanted:
            words.pop()
        return f"{' '.join(words)}. {task}"


def _sentence(draw: random.Random) -> str:
    person, deed = draw.choice(_PEOPLE), draw.choice(_DEEDS)
    return f"{draw.choice(_OPENINGS)} {draw.choice(_TIMES)}, {person} {deed} {draw.choice(_PLACES)}."
