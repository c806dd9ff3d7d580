"""Sentences with figures in them, in other words: `At most 5 texts` by way of `At most %(n)s texts`. Knows no language.

An error is a whole sentence by the time it reaches a page: it may come from another process. Each sentence that can
come is known with its holes, so it is found again by what stands around them.
"""

import re
from collections.abc import Iterable

_HOLE = re.compile(r"%\((\w+)\)s")
# A sentence quotes what was typed. One that is longer stays as it is: to look for holes takes the square of its length.
LONGEST_SENTENCE = 1000
# A value may be a sentence, whose value may be one: what was typed may go on like that.
DEEPEST_VALUE = 3


class FilledSentences:
    """Pairs of a sentence and its translation, both with `%(names)s` where the values stand."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._whole: dict[str, str] = {}
        self._with_holes: list[tuple[re.Pattern[str], str]] = []
        # One that says more goes first: "must be a number of 1 at least" may also be read as "must be …".
        for sentence, translation in sorted(pairs, key=lambda pair: -len(_HOLE.sub("", pair[0]))):
            if _HOLE.search(sentence):
                self._with_holes.append((_pattern(sentence), translation))
            else:
                self._whole[sentence] = translation

    def say(self, sentence: str) -> str | None:
        """The translation, with the values of the sentence, which may be known sentences too; None if it is unknown."""
        return self._say(sentence, depth=0) if len(sentence) <= LONGEST_SENTENCE else None

    def _say(self, sentence: str, *, depth: int) -> str | None:
        if whole := self._whole.get(sentence):
            return whole
        for pattern, translation in self._with_holes if depth <= DEEPEST_VALUE else ():
            if found := pattern.fullmatch(sentence):
                values = found.groupdict().items()
                return translation % {name: self._say(value, depth=depth + 1) or value for name, value in values}
        return None


def _pattern(sentence: str) -> re.Pattern[str]:
    literals = _HOLE.split(sentence)
    # Every second part is the name of a hole.
    parts = [f"(?P<{part}>.+?)" if index % 2 else re.escape(part) for index, part in enumerate(literals)]
    return re.compile("".join(parts), re.DOTALL)
