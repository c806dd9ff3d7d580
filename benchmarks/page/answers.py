"""What the page is made to show: answers of 2,500 tokens in the shapes that cost a page most. Knows no browser."""

import itertools
import random
import re
from collections.abc import Callable, Iterator

TOKENS = 2500
# A token of an English text has about four letters and the space before it.
_TOKEN = re.compile(r"\s?\S{1,5}|\s", re.DOTALL)
_WORDS = re.findall(
    r"\w+",
    "the coin that could talk had been lying in a drawer for sixty years and when somebody at last pulled it open it "
    "said good morning in three languages none of which anyone in the house had ever heard spoken before",
)


def pieces(shape: str) -> list[str]:
    """The tokens of the answer of this shape."""
    text = "".join(itertools.islice(SHAPES[shape](random.Random(1)), 4 * TOKENS))
    return _TOKEN.findall(text)[:TOKENS]


def _sentence(draw: random.Random, *, words: int = 14) -> str:
    chosen = draw.choices(_WORDS, k=words)
    chosen[words // 3] = f"**{chosen[words // 3]} {chosen[0]}**"
    chosen[words // 2] = f"`{chosen[words // 2]}_{draw.randrange(100)}`"
    return " ".join(chosen).capitalize() + "."


def _code(draw: random.Random) -> Iterator[str]:
    for number in itertools.count():
        first, second = draw.sample(_WORDS, k=2)
        yield f'def {first}_{number}(value: int) -> str:\n    """{second.title()} it."""\n'
        yield f'    if value > {draw.randrange(1000)}:\n        return f"{first} {{value}}"\n    return "{second}"\n\n'


def _rich(draw: random.Random) -> Iterator[str]:
    for number in itertools.count(1):
        yield f"## {number}. {' '.join(draw.choices(_WORDS, k=4)).title()}\n\n"
        yield f"{_sentence(draw)} {_sentence(draw)} See [the page](https://example.org/{number}).\n\n"
        yield "".join(f"- {_sentence(draw, words=8)}\n" for _ in range(4)) + "\n"
        yield "```python\n" + "".join(itertools.islice(_code(draw), 6)) + "```\n\n"
        yield "| name | value | what it is |\n| :-- | --: | --- |\n"
        yield "".join(f"| `{word}` | {draw.randrange(1000)} | {_sentence(draw, words=6)} |\n" for word in _WORDS[:4])
        yield f"\n> {_sentence(draw)}\n\n1. {_sentence(draw)}\n2. {_sentence(draw)}\n   - {_sentence(draw)}\n\n"


def _paragraph(draw: random.Random) -> Iterator[str]:
    while True:
        yield _sentence(draw) + " "


def _fence(draw: random.Random) -> Iterator[str]:
    yield "```python\n"
    yield from _code(draw)


def _table(draw: random.Random) -> Iterator[str]:
    yield "| name | value | what it is |\n| :-- | --: | --- |\n"
    for number in itertools.count():
        yield f"| `row_{number}` | {draw.randrange(1000)} | {_sentence(draw, words=6)} |\n"


def _list(draw: random.Random) -> Iterator[str]:
    for number in itertools.count(1):
        yield f"{number}. {_sentence(draw, words=8)}\n   - {_sentence(draw, words=6)}\n"


def _nested(draw: random.Random) -> Iterator[str]:
    for number in itertools.count():
        depth = number % 40
        yield f"{'> ' * (depth // 4)}{'  ' * (depth % 10)}- {_sentence(draw, words=6)}\n"


SHAPES: dict[str, Callable[[random.Random], Iterator[str]]] = {
    "Markdown of all kinds": _rich,
    "one paragraph": _paragraph,
    "one block of code": _fence,
    "one table": _table,
    "one list": _list,
    "nested lists and quotes": _nested,
}
