"""A small run of the real harness over Jeton's real server and engine process, with the scripted engine."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from benchmarks import report
from benchmarks.contenders.contender import LineContender
from benchmarks.contenders.jeton import JetonServer, jeton_engine
from benchmarks.long_prompt import measure_long_prompt
from benchmarks.plan import PROMPT_TOKENS, Configuration, Length
from benchmarks.processes import ProcessGroup
from benchmarks.prompts import Prompt, PromptMaker
from benchmarks.results import Results
from benchmarks.rounds import measure, started
from tests.harness import SCRIPTED_MODELS
from webapp.engine.scripted_runner import STEP_WINDOW_SECONDS

SCRIPTED = "@jeton/scripted"
TOKENS = 6


class ScriptedPrompts(PromptMaker):
    """Scripts for the scripted engine instead of stories."""

    def __init__(self) -> None:
        """Counts nothing: the scripted engine says its counts."""

    def make(self, key: str, streams: int, *, length: Length) -> list[Prompt]:
        script = {"tokens": 40, "step_seconds": 0.02, "prefill_seconds": 0.1 if length == "book" else 0.0}
        return [Prompt(json.dumps(script), seed=stream + 1) for stream in range(streams)]


@pytest.fixture(autouse=True)
def scripted_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETON_MODELS_FILE", str(SCRIPTED_MODELS))


def test_server_and_engine_are_measured_in_turn_and_reported() -> None:
    contenders = [JetonServer(prompt_maker=ScriptedPrompts(), model=SCRIPTED), jeton_engine(SCRIPTED)]
    configurations = [Configuration(count, "short", is_sampled=True) for count in (1, 4)]
    found = Results(date="2026-01-01", commit="abc", command="make bench", machine={})

    with started(contenders, found, starts=1, idle_seconds=0.3) as running:
        measure(running, configurations, found, rounds=1, prompt_maker=ScriptedPrompts(), max_tokens=TOKENS)
        server = running["jeton"]
        assert isinstance(server, JetonServer)
        long = measure_long_prompt(server, ScriptedPrompts(), rounds=1, tokens=30)

    assert [(run.contender, run.configuration) for run in found.runs] == [
        ("jeton", "sampled/short/1"),
        ("engine", "sampled/short/1"),
        ("engine", "sampled/short/4"),
        ("jeton", "sampled/short/4"),
    ]
    assert [run.failure for run in found.runs] == [None] * 4
    assert [run.figures.completion_tokens for run in found.runs if run.figures] == [6, 6, 24, 24]
    assert all(contender.pss_bytes > 1e7 for contender in found.contenders)
    assert all(not contender.group.pids() for contender in contenders)
    # What is due within one of its steps the scripted engine makes at once.
    assert long.time_to_first_token >= 0.1 - STEP_WINDOW_SECONDS
    assert "Jeton" in report.markdown(found)


def test_contender_that_ends_is_noted_and_left_out() -> None:
    found = Results(date="2026-01-01", commit="abc", command="make bench", machine={})

    with started([jeton_engine("@no/such-model")], found, starts=1, idle_seconds=0.3) as running:
        assert not running

    assert "did not start" in found.notes[0]
    assert "ModelNotFound" in found.notes[0]


def test_prompts_differ_have_the_wanted_length_and_come_again(tmp_path: Path) -> None:
    maker = PromptMaker(word_tokenizer(tmp_path))

    for length, wanted in PROMPT_TOKENS.items():
        prompts = maker.make("key", 4, length=length)
        assert len({prompt.text for prompt in prompts}) == 4
        assert all(wanted - 3 <= maker.count(prompt.text) <= wanted for prompt in prompts)
        assert prompts == maker.make("key", 4, length=length)
        assert not set(prompts) & set(maker.make("another", 4, length=length))


def word_tokenizer(folder: Path) -> Path:
    """A tokenizer whose tokens are words."""
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_pids_of_a_group_are_found_by_its_mark(own_sleeper: Sequence[LineContender]) -> None:
    contender = own_sleeper[0]

    assert contender.group.pids()
    assert not ProcessGroup().pids()


@pytest.fixture
def own_sleeper() -> Sequence[LineContender]:
    contender = jeton_engine(SCRIPTED)
    contender.start()
    yield [contender]
    contender.stop()
