"""The published sequence lengths are reached to the token, by the starter model as it is served."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.engine.driving import Drive, request
from webapp.catalog import CatalogEntry, read_catalog
from webapp.engine.loader import load_runner
from webapp.engine.slot_runner import SlotRunner
from webapp.wire.generation import Finished

_CATALOG = read_catalog(Path(__file__).parents[2] / "models.toml")
_PUBLISHED = {"@cf/meta/llama-2-7b-chat-int8": 1800, "@cf/meta/llama-2-7b-chat-fp16": 2500}


# About a minute on 2 cores that do nothing else.
@pytest.mark.timeout(600)
def test_published_sequence_lengths_are_reached_exactly(
    starter: CatalogEntry, cache_dir: Path, tokenizer: PreTrainedTokenizerFast
):
    assert {name: _CATALOG.find(name).sequence_length for name in _PUBLISHED} == _PUBLISHED
    served = _CATALOG.find(starter.name)
    runner = load_runner(served, cache_dir=cache_dir, device="cpu", on_progress=lambda _: None)
    assert isinstance(runner, SlotRunner)
    # No run ends by what the model says.
    runner._end_ids = frozenset()
    drive = Drive(runner)

    answers = {
        length: drive.start(
            request("Tell me a very long story.", max_tokens=length, temperature=0.8, top_k=40, min_p=0.05, seed=length)
        )
        for length in _PUBLISHED.values()
    }
    drive.finish()

    for length, answer in answers.items():
        assert isinstance(answer.end, Finished) and answer.end.finish_reason == "length"
        assert answer.end.usage.completion_tokens == length
        # Special tokens at the very end have no text, so no delta carries them.
        assert length - 20 < len(answer.token_ids) <= length
        assert answer.text == tokenizer.decode(answer.token_ids, skip_special_tokens=True)
