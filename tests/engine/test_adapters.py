"""LoRA adapters: each row has its own, as transformers and peft compute it in fp32 with real weights."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.engine.driving import Answer, Drive, Reference, answer_of, request, spy_on_prefill
from tests.engine.tiny import tiny_runner
from webapp.catalog import Adapter, CatalogEntry, Precision
from webapp.engine.adapters import load_adapters
from webapp.engine.chat_template import prompt_token_ids
from webapp.engine.loader import load_runner
from webapp.engine.slot_runner import SlotRunner
from webapp.engine.weights import ModelLoadFailed
from webapp.wire.generation import Failed, Finished

_PROMPT = "What is a comet?"
# Dots and dashes are part of real names, and peft's own keys may hold no dot.
_FIRST, _SECOND = "pirate-v1.2", "default"
_LENGTH = 10
_SHARED = "The river runs past the old mill, and the miller counts his sacks of grain. " * 3

Load = Callable[..., SlotRunner]


@pytest.fixture(scope="module")
def adapters(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    """Two adapters of random numbers, of different rank and different layers, as peft writes them."""
    folder = tmp_path_factory.mktemp("adapters")
    written = []
    for seed, (name, rank, targets) in enumerate(
        ((_FIRST, 4, ["q_proj", "v_proj", "down_proj"]), (_SECOND, 2, ["k_proj", "up_proj"]))
    ):
        model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32, local_files_only=True)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, init_lora_weights=False)
            get_peft_model(model, config).save_pretrained(str(folder / str(seed)))
        written.append(Adapter(name, str(folder / str(seed))))
    return written


@pytest.fixture(scope="module")
def load(starter: CatalogEntry, cache_dir: Path) -> Load:
    def load(adapters: list[Adapter], *, precision: Precision = "fp32") -> SlotRunner:
        entry = msgspec.structs.replace(starter, adapters=adapters, precision=precision, slots=4)
        runner = load_runner(entry, cache_dir=cache_dir, device="cpu", on_progress=lambda fraction: None)
        assert isinstance(runner, SlotRunner)
        return runner

    return load


@pytest.fixture(scope="module")
def adapted(load: Load, adapters: list[Adapter]) -> SlotRunner:
    return load(adapters)


@pytest.fixture(scope="module")
def peft_says(
    weights: Path, tokenizer: PreTrainedTokenizerFast, adapters: list[Adapter]
) -> Callable[[str | None], list[int]]:
    """What peft's own `generate` says with an adapter, greedily, in token ids."""

    def says(name: str | None) -> list[int]:
        model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32, local_files_only=True).eval()
        folders = [adapter.folder for adapter in adapters if adapter.name == name]
        for folder in folders:
            model = PeftModel.from_pretrained(model, folder).eval()
        prompt_ids = prompt_token_ids(tokenizer, request(_PROMPT))
        inputs = torch.tensor([prompt_ids])
        out = model.generate(
            input_ids=inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=_LENGTH, do_sample=False
        )
        return out[0, len(prompt_ids) :].tolist()

    return says


def test_a_mixed_batch_says_what_peft_says_of_each_row(
    adapted: SlotRunner, peft_says: Callable[[str | None], list[int]]
):
    names = (_FIRST, None, _SECOND)
    expected = {name: peft_says(name) for name in names}
    assert expected[_FIRST] != expected[None] != expected[_SECOND]
    drive = Drive(adapted)

    answers = {name: drive.start(request(_PROMPT, max_tokens=_LENGTH, adapter=name)) for name in names}
    drive.finish()

    assert {name: _ids(answer) for name, answer in answers.items()} == {name: _spoken(expected[name]) for name in names}


def test_rows_that_come_and_go_say_what_each_says_alone(adapted: SlotRunner, reference: Reference):
    asked = [
        request(_PROMPT, max_tokens=5 + at % 2, adapter=name) for at, name in enumerate((None, _FIRST, _SECOND, None))
    ]
    alone = [answer_of(adapted, one) for one in asked]
    drive = Drive(adapted)

    answers = []
    for one in asked:
        answers.append(drive.start(one))
        drive.step(2)
    drive.finish()

    assert [answer.token_ids for answer in answers] == [answer.token_ids for answer in alone]
    reference.assert_picks(answers[0], asked[0])
    reference.assert_picks(answers[3], asked[3])


def test_a_prefix_is_shared_among_rows_of_one_adapter_only(adapted: SlotRunner, monkeypatch: pytest.MonkeyPatch):
    plain = request(_SHARED + "Who counts?", raw=True, max_tokens=4)
    pirate = msgspec.structs.replace(plain, adapter=_FIRST)
    expected = answer_of(adapted, pirate).text
    prompt_tokens = _prompt_tokens(answer_of(adapted, plain))
    # What the cache holds of both is theirs now.
    prefilled = spy_on_prefill(monkeypatch)

    assert answer_of(adapted, pirate).text == expected
    assert prefilled == []
    other = answer_of(adapted, msgspec.structs.replace(plain, adapter=_SECOND))
    assert sum(prefilled) == prompt_tokens - 1
    assert other.text != expected

    prefilled.clear()
    drive = Drive(adapted)
    changed = request("Once more. " + _SHARED + "Who counts?", raw=True, max_tokens=4)
    together = [drive.start(msgspec.structs.replace(changed, adapter=name)) for name in (None, _FIRST, None, _FIRST)]
    drive.finish()
    # Once for each adapter, though all four came at once.
    assert sum(prefilled) == 2 * (_prompt_tokens(together[0]) - 1)
    assert together[0].text == together[2].text != together[1].text == together[3].text


def test_a_generation_goes_on_with_its_adapter(adapted: SlotRunner):
    asked = request(_PROMPT, max_tokens=_LENGTH, adapter=_FIRST)
    whole = answer_of(adapted, asked)

    rest = answer_of(adapted, asked, token_ids=whole.token_ids[:3])

    assert whole.token_ids[3:] == rest.token_ids


def test_an_adapter_that_the_engine_has_not_fails_its_generation_only(adapted: SlotRunner):
    drive = Drive(adapted)
    good, bad = drive.start(request(_PROMPT, max_tokens=3)), drive.start(request(_PROMPT, adapter="parrot"))
    drive.finish()

    assert isinstance(bad.end, Failed) and bad.end.code == "FeatureUnsupported"
    assert isinstance(good.end, Finished)


@pytest.mark.parametrize("precision", ["full", "int8"])
def test_other_precisions_know_the_adapter_too(
    load: Load, adapters: list[Adapter], adapted: SlotRunner, precision: Precision
):
    runner = load(adapters[:1], precision=precision)
    asked = [request(_PROMPT, max_tokens=1, adapter=name, logprobs=0) for name in (None, _FIRST)]
    exact = [answer_of(adapted, one).logprobs for one in asked]
    drive = Drive(runner)

    rows = [drive.start(one) for one in asked]
    drive.finish()

    assert runner.memory_bytes > 0
    assert rows[0].text != "" and rows[1].text != ""
    # The likeliest token is far likelier than all others here, in whatever precision.
    assert [row.logprobs[0].token_id for row in rows] == [one[0].token_id for one in exact]


def test_the_memory_of_adapters_is_counted(adapted: SlotRunner, runner: SlotRunner, adapters: list[Adapter]):
    files = sum((Path(adapter.folder) / "adapter_model.safetensors").stat().st_size for adapter in adapters)

    assert adapted._model.weight_bytes - runner._model.weight_bytes == pytest.approx(files, rel=0.05)


def test_a_step_without_adapters_runs_the_models_own_layers(adapted: SlotRunner):
    answer_of(adapted, request(_PROMPT, max_tokens=2, adapter=_FIRST))
    answer_of(adapted, request(_PROMPT, max_tokens=2))

    projection = adapted._model._model.get_submodule("model.layers.0.self_attn.q_proj")

    assert type(projection) is torch.nn.Linear


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("no_weights", "holds no adapter_model.safetensors"),
        ("other_model", "cannot be loaded"),
        ("torn", "cannot be loaded"),
        ("ia3", "not LoRA"),
        ("dora", "use_dora"),
    ],
)
def test_an_adapter_that_cannot_be_loaded_is_named(adapters: list[Adapter], tmp_path: Path, fault: str, reason: str):
    source = Path(adapters[0].folder)
    config = json.loads((source / "adapter_config.json").read_text())
    weights = (source / "adapter_model.safetensors").read_bytes()
    if fault == "dora":
        config["use_dora"] = True
    elif fault == "ia3":
        config = IA3Config(target_modules=["q_proj"], feedforward_modules=[]).to_dict()
    (tmp_path / "adapter_config.json").write_text(json.dumps(config, default=list))
    if fault != "no_weights":
        (tmp_path / "adapter_model.safetensors").write_bytes(weights[: 100 if fault == "torn" else None])

    # Another model than the adapter is for.
    with pytest.raises(ValueError) as raised:
        load_adapters(tiny_runner()._model._model, [Adapter("broken-one", str(tmp_path))])

    assert "its adapter broken-one cannot be loaded" in str(raised.value)
    assert reason in str(raised.value)
    assert str(tmp_path) not in str(raised.value)


def test_a_model_whose_adapter_is_missing_does_not_load(load: Load, tmp_path: Path):
    with pytest.raises(ModelLoadFailed, match="its adapter lost cannot be loaded: its folder holds no adapter_config"):
        load([Adapter("lost", str(tmp_path / "nothing"))])


def _ids(answer: Answer) -> list[int]:
    assert isinstance(answer.end, Finished)
    return list(answer.token_ids)


def _spoken(token_ids: list[int]) -> list[int]:
    """Without the end of the turn, which no delta carries."""
    return token_ids[:-1] if token_ids[-1] == 2 else token_ids


def _prompt_tokens(answer: Answer) -> int:
    assert answer.started
    return answer.started.prompt_tokens
