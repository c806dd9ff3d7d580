"""OpenAI's `GET models`, `GET models/<id>` and `POST embeddings`. Knows not where they are served.

Source: OpenAI's API reference, models and embeddings.
"""

from typing import Annotated, Literal

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from webapp.catalog import Catalog, CatalogEntry, ModelNotInstalled, ModelUnavailable
from webapp.web.api.model_rows import author_of, created_at
from webapp.web.embeddings import Embeddings
from webapp.web.errors import InvalidFields
from webapp.web.fields import read_struct
from webapp.web.gate import Gate
from webapp.web.json_body import read_json_body
from webapp.web.replies import json_reply, name_stand_in
from webapp.web.request_fields import Text, find_model


class EmbeddingFields(Struct, frozen=True, kw_only=True):
    """The body of a request for embeddings."""

    model: Text
    # Token ids are refused with a sentence.
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None


def add_routes(routes: Blueprint, catalog: Catalog, *, embeddings: Embeddings, gate: Gate) -> None:
    """Add the routes to these."""

    @routes.get("/models")
    def models(account: str = "") -> Response:
        served = [(entry, _serving(catalog, entry)) for entry in catalog.entries]
        data = [_model(entry, serving) for entry, serving in served if serving]
        return json_reply({"object": "list", "data": data})

    @routes.get("/models/<path:model>")
    def model(model: str, account: str = "") -> Response:
        makes_vectors = any(entry.name == model and entry.task == "text-embeddings" for entry in catalog.entries)
        entry, serving = find_model(catalog, model, task="text-embeddings" if makes_vectors else "text-generation")
        return json_reply(_model(entry, serving))

    @routes.post("/embeddings")
    def embed(account: str = "") -> Response:
        fields = read_struct(EmbeddingFields, read_json_body())
        texts = _texts(fields)
        gate.count_generation(request)
        answer = embeddings.answer(texts, fields.model, owner=gate.holder, client=gate.holder)
        if fields.dimensions is not None:
            _check_dimensions(fields, answer.dimensions)
        given = answer.vectors_base64 if fields.encoding_format == "base64" else answer.vectors()
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(given)]
        usage = {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens}
        response = json_reply({"object": "list", "data": data, "model": fields.model, "usage": usage})
        return name_stand_in(response, answer.entry, answer.serving)


def _serving(catalog: Catalog, entry: CatalogEntry) -> CatalogEntry | None:
    """What answers for the entry; None where nothing does."""
    try:
        return catalog.serving(entry)
    except (ModelNotInstalled, ModelUnavailable):
        return None


def _model(entry: CatalogEntry, serving: CatalogEntry) -> dict[str, object]:
    """The first four fields are OpenAI's."""
    stand_in: dict[str, object] = {} if serving is entry else {"served_by": serving.name}
    model: dict[str, object] = {
        "id": entry.name,
        "object": "model",
        "created": int(created_at(entry).timestamp()),
        "owned_by": author_of(entry.name),
        "task": entry.task,
        "description": entry.description,
        "context_window": entry.context_window,
        "sequence_length": entry.sequence_length,
    }
    return model | stand_in


def _texts(fields: EmbeddingFields) -> list[str]:
    given = [fields.input] if isinstance(fields.input, str) else fields.input
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        raise InvalidFields({"input": "token ids cannot be read; send the text"})
    return texts


def _check_dimensions(fields: EmbeddingFields, length: int) -> None:
    # A vector cut short means something only where the model was trained for it.
    if fields.dimensions != length:
        raise InvalidFields({"dimensions": f"{fields.model} makes vectors of {length} numbers, and no others"})
