"""Token ids to text, one at a time, holding back what may not be shown yet. Knows nothing of models."""

from typing import Protocol


class Detokenizer(Protocol):
    """Turns token ids into text incrementally: all pieces joined are what decoding all ids at once gives."""

    def push(self, token_id: int) -> str:
        """The text that is certain after this token id; empty while a character is incomplete."""
        ...

    def flush(self) -> str:
        """What is left at the end: an incomplete character, as the replacement character."""
        ...


class Constraint(Protocol):
    """What a text must look like, one token at a time."""

    @property
    def is_complete(self) -> bool:
        """Whether the text is whole, and nothing may follow."""
        ...

    def advance(self, token_id: int) -> None:
        """Take the token that was chosen. Raises EngineError where it cannot go on."""
        ...

    def allowed(self) -> bytes:
        """One byte for each token id, not zero where it may come next. What goes wrong, the next `advance` says."""
        ...


class StopSequences:
    """Holds back what may be the start of a stop sequence, and ends the text where one is whole."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = tuple(sequence for sequence in stop if sequence)
        self._held = ""
        self.is_met = False

    def push(self, text: str) -> str:
        """The text that may be shown; after a stop sequence is met, always empty."""
        if self.is_met:
            return ""
        if not self._stop:
            return text
        self._held += text
        found = [at for sequence in self._stop if (at := self._held.find(sequence)) >= 0]
        if found:
            self.is_met = True
            return self._take(min(found))
        return self._take(len(self._held) - self._possible_start())

    def flush(self) -> str:
        """What was held back for a stop sequence that did not come."""
        return "" if self.is_met else self._take(len(self._held))

    def _take(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        return text

    def _possible_start(self) -> int:
        longest = min(len(self._held), max(map(len, self._stop)) - 1)
        return next((n for n in range(longest, 0, -1) if any(s.startswith(self._held[-n:]) for s in self._stop)), 0)
