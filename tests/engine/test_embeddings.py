"""Embeddings: vectors as transformers computes them of a real model's files, and the turns of many generations."""

import base64
import dataclasses
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tests.engine.driving import Answer, Drive, answer_of, request
from webapp.catalog import CatalogEntry, read_catalog
from webapp.engine.embedding_model import TorchEmbedder, read_sentence_files
from webapp.engine.embedding_runner import EmbeddingRunner, Text
from webapp.engine.errors import EngineError, FeatureUnsupported
from webapp.engine.hardware import Processor
from webapp.engine.loader import load_runner
from webapp.engine.scripted_embeddings import ScriptedEmbedder, scripted_vector
from webapp.engine.weights import ModelLoadFailed
from webapp.wire.generation import Failed, Finished, GenerationRequest, Usage

_CATALOG = Path(__file__).parents[2] / "models.toml"
_MINILM = "@hf/sentence-transformers/all-minilm-l6-v2"
_TEXTS = (
    "A cat sleeps on the sofa.",
    "Stocks fell sharply after the central bank raised its rates.",
    "The kitten is napping on the couch.",
    "Le métal vaut un jeton 🪙, " * 9,
    "Yes.",
)


@pytest.fixture(scope="module")
def minilm() -> CatalogEntry:
    entry = read_catalog(_CATALOG).find(_MINILM)
    if not entry.is_installed:
        pytest.skip(f"MiniLM is not installed: {entry.install}")
    return entry


@pytest.fixture(scope="module")
def runner(minilm: CatalogEntry, cache_dir: Path) -> EmbeddingRunner:
    runner = load_runner(minilm, cache_dir=cache_dir, device="cpu", on_progress=lambda fraction: None)
    assert isinstance(runner, EmbeddingRunner)
    return runner


@pytest.fixture
def scripted() -> EmbeddingRunner:
    entry = read_catalog(Path(__file__).parents[1] / "models.toml").find("@jeton/scripted-embeddings")
    return EmbeddingRunner(ScriptedEmbedder(entry, "none"), capacity=entry.slots)


def _asked(texts: Sequence[str], **fields: int) -> GenerationRequest:
    limits = {"context_window": 256, "max_tokens": len(texts), **fields}
    return msgspec.structs.replace(request(**limits), prompt=None, inputs=tuple(texts))


def _vectors(answer: Answer) -> np.ndarray:
    return np.stack([np.frombuffer(base64.b64decode(delta.text), dtype="<f4") for delta in answer.deltas])


def test_vectors_are_those_of_transformers_pooled_as_the_files_say(runner: EmbeddingRunner, minilm: CatalogEntry):
    answer = answer_of(runner, _asked(_TEXTS))

    tokenizer = AutoTokenizer.from_pretrained(minilm.weights_path(), local_files_only=True)
    model = AutoModel.from_pretrained(minilm.weights_path(), dtype=torch.float32, local_files_only=True).eval()
    tokens = 0
    for text, vector in zip(_TEXTS, _vectors(answer), strict=True):
        inputs = tokenizer(text, truncation=False, return_tensors="pt")
        tokens += inputs["input_ids"].shape[1]
        with torch.inference_mode():
            # By the model's card: the mean of all tokens, then length 1.
            mean = model(**inputs).last_hidden_state[0].mean(0)
        assert vector == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)
    assert answer.end == Finished("stop", Usage(tokens, len(_TEXTS)))
    assert answer.started and answer.started.prompt_tokens == tokens == runner.count_tokens(_asked(_TEXTS))
    assert [delta.token_ids for delta in answer.deltas] == [(0,)] * len(_TEXTS)


def test_texts_alike_in_meaning_are_nearer_than_others(runner: EmbeddingRunner):
    cat, stocks, kitten, *_ = _vectors(answer_of(runner, _asked(_TEXTS)))

    assert cat @ kitten > 0.5 > 0.2 > cat @ stocks


def test_a_text_longer_than_the_model_reads_is_refused(runner: EmbeddingRunner):
    long = "word " * 300

    answer = answer_of(runner, _asked(["short", long], context_window=4096))

    assert isinstance(answer.end, Failed) and answer.end.code == "ContextWindowExceeded"
    assert "(256)" in answer.end.message


@pytest.mark.parametrize("precision", ["full", "int8"])
def test_other_precisions_make_nearly_the_same_vectors(
    runner: EmbeddingRunner, minilm: CatalogEntry, cache_dir: Path, precision: str
):
    entry = msgspec.structs.replace(minilm, precision=precision)
    other = load_runner(entry, cache_dir=cache_dir, device="cpu", on_progress=lambda fraction: None)

    exact, rough = (_vectors(answer_of(one, _asked(_TEXTS[:3]))) for one in (runner, other))

    assert (exact * rough).sum(-1) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("modules", "pooling", "reason"),
    [
        (["Transformer", "Pooling", "Dense"], {}, "its module Dense is not supported"),
        (["Transformer", "Pooling"], {"pooling_mode_weightedmean_tokens": True}, "is not supported"),
        (["Transformer", "Pooling"], {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, "cls and max"),
    ],
)
def test_files_that_ask_for_what_is_not_known_stop_the_load(
    minilm: CatalogEntry, cache_dir: Path, tmp_path: Path, modules: list[str], pooling: dict[str, bool], reason: str
):
    folder = _model_files(tmp_path, minilm, modules=modules, pooling=pooling)
    entry = msgspec.structs.replace(
        minilm, weights=msgspec.structs.replace(minilm.weights, package=None, folder=folder)
    )

    with pytest.raises(ModelLoadFailed, match=reason):
        load_runner(entry, cache_dir=cache_dir, device="cpu", on_progress=lambda fraction: None)


@pytest.mark.parametrize(
    ("mode", "pool"),
    [
        ("cls", lambda states: states[0]),
        ("max", lambda states: states.amax(0)),
        ("mean", lambda states: states.mean(0)),
    ],
)
def test_each_pooling_leaves_the_padding_out(runner: EmbeddingRunner, mode: str, pool):
    plain = runner._embedder
    assert isinstance(plain, TorchEmbedder)
    files = read_sentence_files(Path("/nonexistent"))
    assert (files.pooling, files.is_normalised) == ("mean", False)
    embedder = TorchEmbedder(
        plain._model,
        plain._tokenizer,
        dataclasses.replace(files, pooling=mode),
        precision="fp32",
        hardware=Processor(),
    )
    short, long = embedder.read(["Yes.", "A text that is a good deal longer than the other."])

    vector = np.frombuffer(embedder.embed([short, long])[0], dtype="<f4")

    with torch.inference_mode():
        states = plain._model(input_ids=torch.tensor([short.token_ids]))[0][0]
    assert vector == pytest.approx(pool(states).numpy(), abs=1e-5)


def test_a_default_prompt_and_lower_case_are_as_the_files_say(tmp_path: Path):
    (tmp_path / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "search: ", "none": ""}, "default_prompt_name": "query"})
    )
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": True}))

    files = read_sentence_files(tmp_path)

    assert (files.prompt, files.longest_text, files.is_lower_case) == ("search: ", 64, True)


def test_generations_take_turns_and_each_hears_its_own_in_order(scripted: EmbeddingRunner):
    lists = [[f"{name} {'word ' * (at % 7)}{at}" for at in range(40)] for name in "abc"]
    drive = Drive(scripted)

    answers = [drive.start(_asked(texts)) for texts in lists]
    drive.step(6)
    assert all(answer.deltas and not answer.end for answer in answers)
    drive.finish()

    for texts, answer in zip(lists, answers, strict=True):
        assert _vectors(answer) == pytest.approx(np.float32([scripted_vector(text) for text in texts]))


def test_a_generation_goes_on_after_the_vectors_it_has(scripted: EmbeddingRunner):
    texts = [f"text {at}" for at in range(10)]
    asked = _asked(texts)

    rest = answer_of(scripted, asked, token_ids=(0,) * 6)
    complete = answer_of(scripted, asked, token_ids=(0,) * 10)

    assert _vectors(rest) == pytest.approx(np.float32([scripted_vector(text) for text in texts[6:]]))
    assert rest.end == complete.end == Finished("stop", Usage(20, 10))
    assert complete.deltas == []


def test_an_aborted_generation_is_gone_and_others_go_on(scripted: EmbeddingRunner):
    drive = Drive(scripted)
    gone, other = drive.start(_asked(["a long list"] * 50)), drive.start(_asked(["another"] * 30))
    drive.step()

    drive.abort(gone)
    drive.finish()

    assert gone.end is None
    assert len(other.deltas) == 30


def test_to_choose_a_large_batch_looks_at_each_text_a_few_times():
    looks = 0

    class Counted(list[int]):
        def __len__(self) -> int:
            nonlocal looks
            looks += 1
            return super().__len__()

    class Wide(ScriptedEmbedder):
        batch_tokens = 16_384

        def __init__(self) -> None:
            self.device = "none"
            self.longest_text = 100

        def read(self, texts: Sequence[str]) -> list[Text]:
            return [Text(text, Counted([1])) for text in texts]

    wide = EmbeddingRunner(Wide(), capacity=4)
    drive = Drive(wide)
    for _ in range(4):
        drive.start(_asked(["one"] * 200))
    looks = 0
    wide.step()

    # It was the square of their number, which took a second on a GPU.
    assert looks <= 800 * 8


def test_a_full_engine_and_one_without_texts_refuse(scripted: EmbeddingRunner):
    drive = Drive(scripted)
    taken = [drive.start(_asked(["text"])) for _ in range(scripted.capacity + 1)]
    no_text = Drive(scripted)
    drive.finish()

    asked_for_text = no_text.start(request())

    assert isinstance(taken[-1].end, Failed) and taken[-1].end.code == "EngineFull"
    assert isinstance(asked_for_text.end, Failed) and asked_for_text.end.code == "FeatureUnsupported"
    with pytest.raises(FeatureUnsupported):
        scripted.count_tokens(request())
    assert scripted.count_tokens(_asked(["a full engine", "counts all the same"])) == 7


class _Fragile(ScriptedEmbedder):
    """Fails for every batch that holds the word poison."""

    def embed(self, texts: Sequence[Text]) -> list[bytes]:
        if any("poison" in text.text for text in texts):
            raise EngineError("poison")
        return super().embed(texts)


def test_a_text_that_always_fails_ends_its_own_generation_only(scripted: EmbeddingRunner):
    entry = read_catalog(Path(__file__).parents[1] / "models.toml").find("@jeton/scripted-embeddings")
    runner = EmbeddingRunner(_Fragile(entry, "none"), capacity=4)
    drive = Drive(runner)

    poisoned, healthy = drive.start(_asked(["good", "poison", "good"])), drive.start(_asked(["fine", "too"]))
    drive.finish()

    assert isinstance(poisoned.end, Failed) and poisoned.end.code == "EngineFailure"
    assert isinstance(healthy.end, Finished) and len(healthy.deltas) == 2


def test_a_scripted_vector_is_eight_small_numbers():
    vector = scripted_vector("text")

    assert len(vector) == 8 and all(-1 <= number <= 1 for number in vector)
    assert vector != scripted_vector("other")
    assert struct.pack("<8f", *vector) == struct.pack("<8f", *scripted_vector("text"))


def _model_files(folder: Path, entry: CatalogEntry, *, modules: list[str], pooling: dict[str, bool]) -> str:
    """A copy of the model's files by links, with other modules."""
    source = entry.weights_path()
    assert source
    for path in source.iterdir():
        if path.is_file() and path.name != "modules.json":
            (folder / path.name).symlink_to(path)
    listed = [
        {"type": f"sentence_transformers.models.{name}", "path": f"{at}_{name}"} for at, name in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return str(folder)
