"""The fold of a generation's events into a whole answer."""

import pytest

from webapp.web.api.workers_ai.binding import TensorChunks
from webapp.web.api.workers_ai.runs import TextChunks
from webapp.web.errors import GenerationAborted, GenerationFailed, RequestError
from webapp.web.generations import WholeAnswer
from webapp.web.sse import Item
from webapp.wire.generation import Delta, Failed, Finished, Started, Usage
from webapp.wire.messages import Gone, Published


def answer(*items: Item) -> WholeAnswer:
    folded = WholeAnswer()
    for item in items:
        folded.add(item)
    return folded


def item(event: Started | Delta | Finished | Failed) -> Published:
    return Published("g", 1, event)


def test_whole_answer_is_all_text_and_its_end() -> None:
    end = Finished("stop", Usage(2, 2))

    whole = answer(
        item(Started(2, "cpu", "bf16")), item(Delta(0, "New", (1,))), item(Delta(1, " York", (2,))), item(end)
    )

    assert (whole.text, whole.finished, whole.error) == ("New York", end, None)


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (Published("g", 2, Finished("abort", Usage(2, 1))), GenerationAborted),
        (Published("g", 2, Failed("EngineLost", "gone")), GenerationFailed),
        (Gone(ask=1), GenerationFailed),
    ],
)
def test_part_of_a_text_is_never_given_out_as_a_whole_answer(end: Item, error: type[RequestError]) -> None:
    whole = answer(item(Delta(0, "New", (1,))), end)

    assert isinstance(whole.error, error)
    assert whole.finished is None
    for chunk in (TextChunks("g", "r")(end), TensorChunks("g", "r")(end)):
        assert b"[DONE]" not in chunk
        assert b'"errors":[' in chunk
