"""Two answers to the same request side by side: up to where they are the same, and how fast each was.

Knows no link, no pool and no page.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from webapp.wire.generation import FinishReason

# What is marked of a difference: the word it is in, or the space it is.
_FIRST_WORD = re.compile(r"\s+|\S+")


class Answer(Struct, frozen=True, kw_only=True):
    """One of the two. `figures` are those of the `usage` event."""

    text: str
    title: str
    device: str
    precision: str
    finish_reason: FinishReason
    figures: Mapping[str, object]


class Side(Struct, frozen=True, kw_only=True):
    """An answer, cut where the other one differs. All but `common` are empty where nothing follows in it."""

    answer: Answer
    common: str
    differing: str
    rest: str


class Comparison(Struct, frozen=True, kw_only=True):
    """`then` is the shared answer, `now` the new one."""

    then: Side
    now: Side

    @property
    def is_same(self) -> bool:
        """Whether they have the same text, to the last character."""
        return self.then.answer.text == self.now.answer.text

    @property
    def is_cut_short(self) -> bool:
        """Whether the new one was stopped, and is the same as far as it goes."""
        return self.now.answer.finish_reason == "abort" and not self.is_same and self.now.answer.text == self.now.common

    @property
    def has_same_engine(self) -> bool:
        """Whether the same weights in the same precision on the same kind of device made both."""
        then, now = self.then.answer, self.now.answer
        return (then.title, then.device, then.precision) == (now.title, now.device, now.precision)

    @property
    def common_characters(self) -> int:
        """How many characters are the same at the start."""
        return len(self.then.common)


def compare(then: Answer, now: Answer) -> Comparison:
    """The two side by side."""
    pairs = zip(then.text, now.text, strict=False)
    shortest = min(len(then.text), len(now.text))
    common = next((index for index, (one, other) in enumerate(pairs) if one != other), shortest)
    return Comparison(then=_side(then, common), now=_side(now, common))


def _side(answer: Answer, common: int) -> Side:
    word = _FIRST_WORD.match(answer.text, common)
    end = word.end() if word else common
    return Side(answer=answer, common=answer.text[:common], differing=answer.text[common:end], rest=answer.text[end:])
