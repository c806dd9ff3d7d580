"""The published sequence lengths are reached to the token, in slots as long as the catalogue's."""

from pathlib import Path

from tests.engine.driving import Drive, request
from tests.engine.tiny import tiny_runner
from webapp.catalog import read_catalog
from webapp.wire.generation import Finished

_CATALOG = read_catalog(Path(__file__).parents[2] / "models.toml")
_PUBLISHED = {"@cf/meta/llama-2-7b-chat-int8": (2048, 1800), "@cf/meta/llama-2-7b-chat-fp16": (3072, 2500)}


def test_published_sequence_lengths_are_reached_exactly():
    entries = {name: _CATALOG.find(name) for name in _PUBLISHED}
    assert {name: (entry.context_window, entry.sequence_length) for name, entry in entries.items()} == _PUBLISHED
    longest = max(sum(limits) for limits in _PUBLISHED.values())
    drive = Drive(tiny_runner(slots=2, slot_length=longest, max_position_embeddings=longest))

    # A byte is a token.
    asked = [
        request("x" * window, raw=True, context_window=window, max_tokens=length, temperature=1.0)
        for window, length in _PUBLISHED.values()
    ]
    answers = [drive.start(one) for one in asked]
    drive.finish()

    for answer, (window, length) in zip(answers, _PUBLISHED.values(), strict=True):
        assert isinstance(answer.end, Finished) and answer.end.finish_reason == "length"
        assert answer.end.usage.prompt_tokens == window
        assert answer.end.usage.completion_tokens == length
