"""Texts to vectors as the views have it: what is refused before the pool is asked, and which models do what."""

import base64
import struct

import pytest

from tests.harness import SCRIPTED_MODELS
from webapp.catalog import read_catalog
from webapp.web.embeddings import EmbeddingAnswer, Embeddings
from webapp.web.errors import InvalidFields, ModelNotFound
from webapp.web.model_choices import default_model, model_choices
from webapp.web.pool_client import PoolClient
from webapp.web.request_fields import find_model

CATALOG = read_catalog(SCRIPTED_MODELS)
MODEL = "@jeton/scripted-embeddings"


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [([], "one text at least"), (["text", ""], "no empty text"), (["text"] * 2049, "at most 2048 texts")],
    ids=range(3),
)
def test_texts_that_cannot_be_embedded_are_named_as_the_dialect_calls_them(inputs: list[str], reason: str) -> None:
    embeddings = Embeddings(CATALOG, PoolClient("ipc://nobody-answers"))

    with pytest.raises(InvalidFields) as raised:
        embeddings.answer(inputs, MODEL, owner="o", client="c", field="text")

    assert reason in raised.value.fields["text"]


def test_a_model_that_makes_text_embeds_none_and_names_those_that_do() -> None:
    embeddings = Embeddings(CATALOG, PoolClient("ipc://nobody-answers"))

    with pytest.raises(InvalidFields) as raised:
        embeddings.answer(["text"], "@jeton/scripted", owner="o", client="c")
    with pytest.raises(ModelNotFound):
        embeddings.answer(["text"], "@no/such", owner="o", client="c")

    assert "makes text, not embeddings" in raised.value.fields["model"]
    assert MODEL in raised.value.fields["model"]


def test_a_model_that_makes_embeddings_makes_no_text_and_names_those_that_do() -> None:
    with pytest.raises(InvalidFields) as raised:
        find_model(CATALOG, MODEL)

    assert "makes embeddings, not text" in raised.value.fields["model"]
    assert "@jeton/scripted-small" in raised.value.fields["model"]
    assert find_model(CATALOG, MODEL, task="text-embeddings")[0].name == MODEL


def test_the_picker_shows_no_model_that_makes_embeddings() -> None:
    assert MODEL not in [choice.name for choice in model_choices(CATALOG, None)]
    assert default_model(CATALOG) != MODEL


def test_vectors_are_the_numbers_of_their_base64() -> None:
    entry = CATALOG.find(MODEL)
    packed = [base64.b64encode(struct.pack("<2f", *numbers)).decode() for numbers in ((0.5, -1.0), (0.25, 2.0))]

    assert EmbeddingAnswer(packed, 3, entry, entry).vectors() == [[0.5, -1.0], [0.25, 2.0]]
