"""The native decoder against transformers, on small random models of every shape it knows, and against itself."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.engine.native.compiling import compiled_sooner
from webapp.engine.model import Chunk, Row
from webapp.engine.native import library as native_library
from webapp.engine.native.library import NativeLibrary, NativeUnavailable, load_library
from webapp.engine.native.model import NativeModel
from webapp.engine.native.packing import Bits, pack_model

_VOCABULARY = 200
_TOKEN_IDS = [(7 * at + at * at) % _VOCABULARY for at in range(70)]


@pytest.fixture(scope="module")
def library(cache_dir: Path) -> NativeLibrary:
    return load_library(cache_dir, threads=2)


def _llama(*, heads: int = 6, key_value_heads: int = 2, **more: object) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=96,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.2,
        **more,
    )
    return _with_fixed_weights(LlamaForCausalLM, config)


def _qwen() -> PreTrainedModel:
    config = Qwen2Config(
        vocab_size=_VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        initializer_range=0.2,
    )
    return _with_fixed_weights(Qwen2ForCausalLM, config)


def _with_fixed_weights(kind: type, config: object) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config).float().eval()
        # transformers begins with biases of 0 and norms of 1, beside which nothing would be missed.
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
            elif "norm" in name:
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
        return model


def _as_quantised(model: PreTrainedModel) -> PreTrainedModel:
    """The model with the numbers that blocks of 32 weights of 4 bits stand for, and of 8 in its last matrix."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            blocks = module.weight.data.unflatten(1, (-1, 32))
            if name == "lm_head":
                scale = (blocks.abs().amax(-1, keepdim=True) / 127).half().float()
                rounded = (blocks / scale).round() * scale
            else:
                low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
                scale, start = ((high - low) / 15).half().float(), low.half().float()
                rounded = ((blocks - start) / scale).round().clamp(0, 15) * scale + start
            module.weight.data = rounded.flatten(1)
    return model


def _native(model: PreTrainedModel, library: NativeLibrary, *, bits: Bits = 4) -> NativeModel:
    return NativeModel(pack_model(model, library, bits=bits), library, slots=20, slot_length=200)


def _logits(model: NativeModel, *, slot: int = 0, chunk: int = 16, token_ids: list[int] = _TOKEN_IDS) -> Tensor:
    """The logits after the last token, whose prompt is read in chunks."""
    prompt = token_ids[:-1]
    for start in range(0, len(prompt), chunk):
        model.prefill([Chunk(slot, prompt[start : start + chunk], start)])
    return model.decode([Row(slot, token_ids[-1], len(prompt))])[0]


@torch.inference_mode()
def _expected(model: PreTrainedModel) -> Tensor:
    return model(torch.tensor([_TOKEN_IDS])).logits[0, -1]


SHAPES = {
    "grouped heads": _llama,
    "one head for each": lambda: _llama(heads=3, key_value_heads=3),
    "one key for all": lambda: _llama(heads=8, key_value_heads=1),
    "four to one": lambda: _llama(heads=8, key_value_heads=2),
    "tied": lambda: _llama(tie_word_embeddings=True),
    "biases everywhere": lambda: _llama(attention_bias=True, mlp_bias=True),
    "llama 3's angles": lambda: _llama(
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    ),
    "qwen": _qwen,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_16_bits_give_what_transformers_gives(shape: str, library: NativeLibrary):
    expected = _expected(SHAPES[shape]())

    logits = _logits(_native(SHAPES[shape](), library, bits=16))

    # Weights and activations are rounded to 8 bits of mantissa.
    assert torch.nn.functional.cosine_similarity(logits, expected, dim=0) > 0.9995


@pytest.mark.parametrize("shape", SHAPES)
def test_4_bits_give_what_transformers_gives_with_the_same_blocks(shape: str, library: NativeLibrary):
    expected = _expected(_as_quantised(SHAPES[shape]()))

    logits = _logits(_native(SHAPES[shape](), library))

    # Activations have 8 bits; in random models nothing averages that out.
    assert torch.nn.functional.cosine_similarity(logits, expected, dim=0) > 0.995


@pytest.mark.parametrize(("bits", "shape"), list(itertools.product((4, 16), ("grouped heads", "qwen"))))
def test_a_row_is_the_same_to_the_bit_whatever_is_beside_it(bits: int, shape: str, library: NativeLibrary):
    model = _native(SHAPES[shape](), library, bits=bits)
    alone = _logits(model, slot=3)

    for count in (2, 3, 5, 8, 9, 17, 20):
        others = [Row(slot, slot, 40 + slot) for slot in range(count) if slot != 3]
        rows = [*others[:3], Row(3, _TOKEN_IDS[-1], len(_TOKEN_IDS) - 1), *others[3:]]
        crowd = model.decode(rows)

        assert torch.equal(crowd[rows.index(Row(3, _TOKEN_IDS[-1], len(_TOKEN_IDS) - 1))], alone)


@pytest.mark.parametrize("bits", [4, 16])
def test_it_does_not_matter_how_a_prompt_is_cut(bits: int, library: NativeLibrary):
    model = _native(_llama(), library, bits=bits)

    logits = [_logits(model, slot=slot, chunk=chunk) for slot, chunk in enumerate((1, 2, 3, 7, 16, 17, 64, 1000))]

    assert all(torch.equal(one, logits[0]) for one in logits)


def test_a_copied_prefix_gives_the_same_logits_and_a_forgotten_slot_can_be_used_again(library: NativeLibrary):
    model = _native(_llama(), library)
    expected = _logits(model, slot=0)

    model.cache.copy(0, 1, length=37)
    model.prefill([Chunk(1, _TOKEN_IDS[37:-1], 37)])
    model.cache.forget(0)

    assert torch.equal(model.decode([Row(1, _TOKEN_IDS[-1], len(_TOKEN_IDS) - 1)])[0], expected)
    assert not any(
        keys[0].any() or values[0].any() for keys, values in zip(model.cache.keys, model.cache.values, strict=True)
    )
    assert torch.equal(_logits(model, slot=0), expected)


def test_what_is_kept_of_a_slot_is_not_forgotten(library: NativeLibrary):
    model = _native(_llama(), library)
    expected = _logits(model)

    model.cache.forget(0, start=37)
    model.prefill([Chunk(0, _TOKEN_IDS[37:-1], 37)])

    assert torch.equal(model.decode([Row(0, _TOKEN_IDS[-1], len(_TOKEN_IDS) - 1)])[0], expected)


@pytest.fixture(scope="module", params=["x86-64-v3", "x86-64-v2"])
def older_library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NativeLibrary:
    """The library as an older processor would have it."""
    if native_library._NATIVE != "-march=native":
        pytest.skip("these are processors of another kind")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_library, "_NATIVE", f"-march={request.param}")
        try:
            return load_library(tmp_path_factory.mktemp("older"), threads=2)
        except NativeUnavailable as error:
            # Before version 12 g++ has no float16 for processors that have none.
            pytest.skip(str(error))


@pytest.mark.parametrize("bits", [4, 16])
def test_older_processors_compute_the_same(bits: int, library: NativeLibrary, older_library: NativeLibrary):
    expected = _logits(_native(_llama(), library, bits=bits))

    logits = _logits(_native(_llama(), older_library, bits=bits))

    # Without fused products some numbers round the other way.
    assert torch.nn.functional.cosine_similarity(logits, expected, dim=0) > 0.9999


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"hidden_act": "gelu"}, "activation"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rotary"),
    ],
)
def test_a_model_it_does_not_know_is_refused_whole(more: dict[str, object], reason: str, library: NativeLibrary):
    model = _llama(**more)

    with pytest.raises(NativeUnavailable, match=reason):
        _native(model, library)

    _expected(model)


def test_no_compiler_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")

    with pytest.raises(NativeUnavailable, match="install g"):
        load_library(tmp_path, threads=2)


def test_weights_that_are_quantised_already_are_refused(library: NativeLibrary):
    model = _llama()
    quantised = model.base_model.layers[1].mlp.up_proj
    quantised.weight = torch.nn.Parameter(quantised.weight.to(torch.int8), requires_grad=False)

    with pytest.raises(NativeUnavailable, match="plain"):
        _native(model, library)


@pytest.mark.parametrize("bits", [4, 16])
def test_what_is_not_a_number_stays_visible(bits: Bits, library: NativeLibrary):
    model = _llama()
    torch.nn.init.constant_(model.base_model.layers[0].self_attn.v_proj.weight[5], torch.nan)

    assert not _logits(_native(model, library, bits=bits)).isfinite().all()


def test_a_sliding_window_shorter_than_a_slot_is_refused(library: NativeLibrary):
    config = MistralConfig(
        vocab_size=_VOCABULARY,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=100,
    )
    packed = pack_model(_with_fixed_weights(MistralForCausalLM, config), library, bits=4)

    NativeModel(packed, library, slots=1, slot_length=100)
    with pytest.raises(NativeUnavailable, match="100 positions"):
        NativeModel(packed, library, slots=1, slot_length=101)


def test_a_damaged_library_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native_library, "_FLAGS", compiled_sooner())
    load_library(tmp_path, threads=1)
    (compiled,) = tmp_path.rglob("*.so")
    size = compiled.stat().st_size
    # Another file: what is loaded must not change under those who use it.
    compiled.unlink()
    compiled.write_bytes(b"not a library")

    load_library(tmp_path, threads=1)

    assert compiled.stat().st_size == size


def test_a_compiler_that_fails_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "false")

    with pytest.raises(NativeUnavailable, match="compiler failed"):
        load_library(tmp_path, threads=2)
    assert not list(tmp_path.rglob("*.so"))


def test_it_is_compiled_once(cache_dir: Path, library: NativeLibrary, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native_library, "_compiled", None)

    load_library(cache_dir, threads=1)
