"""Texts to vectors, for every dialect: one generation whose deltas are vectors. Knows no URL and no shape."""

import base64
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from webapp.catalog import Catalog, CatalogEntry
from webapp.web.errors import InvalidFields
from webapp.web.generations import Generations
from webapp.web.pool_client import PoolClient
from webapp.web.request_fields import find_model
from webapp.wire.generation import GenerationRequest
from webapp.wire.messages import Submit

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class EmbeddingAnswer:
    """One vector for each text, in their order: base64 of its float32 numbers, little-endian, as OpenAI has it.

    `entry` is what was asked for, `serving` what has answered.
    """

    vectors_base64: list[str]
    prompt_tokens: int
    entry: CatalogEntry
    serving: CatalogEntry

    @property
    def dimensions(self) -> int:
        """How many numbers each vector has."""
        return len(base64.b64decode(self.vectors_base64[0])) // _FLOAT_BYTES

    def vectors(self) -> list[list[float]]:
        """The vectors as numbers."""
        return [_numbers(base64.b64decode(vector)) for vector in self.vectors_base64]


class Embeddings:
    """Embeds texts for the views."""

    def __init__(self, catalog: Catalog, pool: PoolClient) -> None:
        self._catalog = catalog
        self._pool = pool
        self._generations = Generations(catalog, pool)

    def answer(
        self, inputs: Sequence[str], model: str, *, owner: str, client: str, field: str = "input"
    ) -> EmbeddingAnswer:
        """The vectors of all texts. `field` is what the dialect calls them, for the sentence about a bad one.

        Raises RequestError: InvalidFields where there are no texts, too many, or an empty one, or where the model
        embeds none; ContextWindowExceeded for a text that is too long.
        """
        entry, serving = find_model(self._catalog, model, task="text-embeddings")
        _check(inputs, field, entry)
        request = GenerationRequest(
            model=serving.name,
            context_window=entry.context_window,
            max_tokens=len(inputs),
            seed=1,
            inputs=tuple(inputs),
        )
        submit = Submit(
            ask=self._pool.next_ask(),
            generation_id=uuid.uuid4().hex,
            owner=owner,
            client=client,
            request=request,
            grace_seconds=0.0,
            attach=True,
        )
        answer = self._generations.answer(submit)
        assert answer.finished
        # All vectors of a model are as long as each other.
        length = len(answer.text) // len(inputs)
        vectors = [answer.text[start : start + length] for start in range(0, len(answer.text), length)]
        return EmbeddingAnswer(vectors, answer.finished.usage.prompt_tokens, entry, serving)


def _check(inputs: Sequence[str], field: str, entry: CatalogEntry) -> None:
    if not inputs:
        raise InvalidFields({field: "must hold one text at least"})
    if len(inputs) > entry.sequence_length:
        raise InvalidFields({field: f"{entry.name} takes at most {entry.sequence_length} texts at once"})
    if not all(inputs):
        raise InvalidFields({field: "must hold no empty text"})


def _numbers(packed: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(packed) // _FLOAT_BYTES}f", packed))
