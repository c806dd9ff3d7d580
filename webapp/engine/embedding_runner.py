"""Embeds the texts of many generations side by side, in batches of texts about as long as each other.

Knows token ids, leases and vectors as bytes, nothing of tensors: an Embedder computes.
"""

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from webapp.engine.errors import ContextWindowExceeded, EngineError, FeatureUnsupported, NoFreeSlot
from webapp.wire.generation import Delta, EngineEvent, Failed, Finished, GenerationRequest, Started, Usage
from webapp.wire.messages import Dispatch, LeaseEvent

_log = logging.getLogger(__name__)

# How many texts of one generation may be embedded out of their order, so that a batch holds texts of one length.
_WINDOW = 256
# What stands for a vector among the token ids: the pool counts them.
_VECTOR_ID = 0


@dataclass(frozen=True)
class Text:
    """A text to embed."""

    text: str
    token_ids: list[int]


class Embedder(Protocol):
    """A model that makes vectors."""

    device: str
    precision: str
    # Most tokens of one text, by the model's own files.
    longest_text: int
    # Most tokens of one batch, padding included: so long a step may take until an abort is heard.
    batch_tokens: int

    @property
    def memory_bytes(self) -> int:
        """Memory of the weights on the device."""
        ...

    def read(self, texts: Sequence[str]) -> list[Text]:
        """The texts with their token ids."""
        ...

    def embed(self, texts: Sequence[Text]) -> list[bytes]:
        """The vector of each text, float32 and little-endian. Raises EngineError where its numbers are not finite."""
        ...


@dataclass
class _Running:
    """A generation: its texts, the vectors that are ready, and how many of them have been said."""

    dispatch: Dispatch
    texts: list[Text]
    said: int
    vectors: dict[int, bytes] = field(default_factory=dict)

    @property
    def next_positions(self) -> list[int]:
        """The texts that may be embedded next."""
        window = range(self.said, min(self.said + _WINDOW, len(self.texts)))
        return [position for position in window if position not in self.vectors]

    @property
    def prompt_tokens(self) -> int:
        return sum(len(text.token_ids) for text in self.texts)

    def event(self, event: EngineEvent) -> LeaseEvent:
        return LeaseEvent(self.dispatch.generation_id, self.dispatch.lease, event)

    def take_events(self) -> list[LeaseEvent]:
        """What can be said now, in order; Finished after the last vector."""
        events: list[EngineEvent] = []
        while self.said in self.vectors:
            text = base64.b64encode(self.vectors.pop(self.said)).decode()
            events.append(Delta(self.said, text, (_VECTOR_ID,)))
            self.said += 1
        if self.said == len(self.texts):
            events.append(Finished("stop", Usage(self.prompt_tokens, len(self.texts))))
        return [self.event(event) for event in events]


# A generation and one of its texts, by position.
_Place = tuple[_Running, int]


class EmbeddingRunner:
    """A Runner over an Embedder. Generations take turns: each step goes on with another one's oldest text."""

    def __init__(self, embedder: Embedder, *, capacity: int) -> None:
        self.device = embedder.device
        self.precision = embedder.precision
        self.capacity = capacity
        self._embedder = embedder
        # By lease; the one whose turn is next comes first.
        self._running: dict[int, _Running] = {}

    @property
    def leases(self) -> tuple[int, ...]:
        return tuple(self._running)

    @property
    def memory_bytes(self) -> int:
        return self._embedder.memory_bytes

    def start(self, dispatch: Dispatch) -> LeaseEvent:
        """Started, or Failed where a text is too long or no place is free."""
        try:
            running = _Running(dispatch, self._fitting(dispatch.request), said=len(dispatch.token_ids))
        except Exception as error:
            return _failed(dispatch, error)
        self._running[dispatch.lease] = running
        return running.event(Started(running.prompt_tokens, self.device, self.precision))

    def abort(self, lease: int) -> None:
        self._running.pop(lease, None)

    def count_tokens(self, request: GenerationRequest) -> int:
        return sum(len(text.token_ids) for text in self._read(request))

    def step(self) -> list[LeaseEvent]:
        """Embed one batch."""
        places = self._choose()
        failed = self._embed(places)
        events = [event for running in self._running.values() for event in running.take_events()]
        self._running = {lease: one for lease, one in self._running.items() if one.said < len(one.texts)}
        return events + failed

    def _read(self, request: GenerationRequest) -> list[Text]:
        if not request.inputs:
            raise FeatureUnsupported(f"{request.model} makes embeddings, not text.")
        return self._embedder.read(request.inputs)

    def _fitting(self, request: GenerationRequest) -> list[Text]:
        if len(self._running) >= self.capacity:
            raise NoFreeSlot("Every place of this engine is taken.")
        texts = self._read(request)
        longest = max(len(text.token_ids) for text in texts)
        context_window = min(request.context_window, self._embedder.longest_text)
        if longest > context_window:
            raise ContextWindowExceeded(prompt_tokens=longest, max_tokens=0, context_window=context_window)
        return texts

    def _choose(self) -> list[_Place]:
        """The next text of the generation whose turn it is, and those most like it in length, of all generations."""
        places = [(one, position) for one in self._running.values() for position in one.next_positions]
        if not places:
            return []
        first = places[0]
        # Its turn comes again after the others.
        self._running[first[0].dispatch.lease] = self._running.pop(first[0].dispatch.lease)
        length = _length(first)
        chosen, longest = [first], length
        for place in sorted(places[1:], key=lambda place: abs(_length(place) - length)):
            longest = max(longest, _length(place))
            if longest * (len(chosen) + 1) > self._embedder.batch_tokens:
                break
            chosen.append(place)
        return chosen

    def _embed(self, places: list[_Place]) -> list[LeaseEvent]:
        """Compute a batch; where that fails each text alone, so that a bad one ends its own generation only."""
        try:
            self._compute(places)
            return []
        except Exception as error:
            if len(places) == 1:
                running = places[0][0]
                self.abort(running.dispatch.lease)
                return [_failed(running.dispatch, error)]
            _log.warning("a batch of %d texts failed; trying each alone", len(places), exc_info=error)
        failed: list[LeaseEvent] = []
        for place in places:
            if place[0].dispatch.lease in self._running:
                failed += self._embed([place])
        return failed

    def _compute(self, places: list[_Place]) -> None:
        vectors = self._embedder.embed([running.texts[position] for running, position in places]) if places else []
        for (running, position), vector in zip(places, vectors, strict=True):
            running.vectors[position] = vector


def _length(place: _Place) -> int:
    running, position = place
    return len(running.texts[position].token_ids)


def _failed(dispatch: Dispatch, error: Exception) -> LeaseEvent:
    if not isinstance(error, EngineError):
        _log.error("generation %s failed", dispatch.generation_id, exc_info=error)
        error = EngineError(f"The engine failed with {type(error).__name__}.")
    return LeaseEvent(dispatch.generation_id, dispatch.lease, Failed(error.code, str(error)))
