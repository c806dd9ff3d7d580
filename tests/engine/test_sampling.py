"""Sampling against the softmax, alone and among others."""

from typing import Any

import pytest
import torch
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from tests.engine.driving import PlainText, dispatch, request
from webapp.engine.sampling import Sampler, _splitmix64, gumbel_noise, uniform_noise
from webapp.engine.sequence import Sequence

_SEEDS = 4000
# Where each has thousands of logits.
_FEWER_SEEDS = 1000


def _row(*, prompt_ids: tuple[int, ...] = (1,), token_ids: tuple[int, ...] = (), **fields: Any) -> Sequence:
    asked = request(**{"temperature": 1.0, **fields})
    return Sequence(dispatch(asked, token_ids=token_ids), list(prompt_ids), PlainText(), frozenset())


def _sample(logits: torch.Tensor, rows: list[Sequence], *, position: int = 5) -> list[int]:
    positions = torch.full((len(rows),), position)
    return Sampler(rows, device="cpu").sample(logits.expand(len(rows), -1).contiguous(), positions).tolist()


def _frequencies(logits: torch.Tensor, *, seeds: int = _SEEDS, **fields: Any) -> torch.Tensor:
    rows = [_row(seed=seed, **fields) for seed in range(seeds)]
    return torch.tensor(_sample(logits, rows)).bincount(minlength=len(logits)) / seeds


def _assert_close(frequencies: torch.Tensor, expected: torch.Tensor, *, seeds: int = _SEEDS) -> None:
    # Four standard deviations of a binomial share.
    bound = 4 * (expected * (1 - expected) / seeds).sqrt() + 1e-9
    assert ((frequencies - expected).abs() <= bound).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_seeds_match_the_softmax(temperature: float):
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5, 3.0])

    _assert_close(_frequencies(logits, temperature=temperature), (logits / temperature).softmax(-1))


def test_positions_match_the_softmax():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    rows = [_row(seed=12) for _ in range(_SEEDS)]

    token_ids = Sampler(rows, device="cpu").sample(logits.expand(_SEEDS, -1).contiguous(), torch.arange(_SEEDS))

    _assert_close(token_ids.bincount(minlength=4) / _SEEDS, logits.softmax(-1))


def test_top_k_keeps_the_best():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])

    expected = torch.tensor([2.0, 1.0, -torch.inf, -torch.inf, 0.5]).softmax(-1)
    _assert_close(_frequencies(logits, top_k=3), expected)


def test_top_p_keeps_the_best_until_their_mass_is_reached():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()

    _assert_close(_frequencies(logits, top_p=0.7), torch.tensor([0.5, 0.3, 0.0, 0.0]) / 0.8)


def test_top_p_counts_the_mass_that_top_k_left():
    logits = torch.tensor([0.4, 0.2, 0.2001, 0.1999]).log()

    _assert_close(_frequencies(logits, top_k=2, top_p=0.6), torch.tensor([1.0, 0.0, 0.0, 0.0]))


def test_top_p_of_nothing_keeps_the_best():
    assert set(_sample(torch.tensor([0.0, 3.0, 1.0]), [_row(seed=seed, top_p=0.0) for seed in range(50)])) == {1}


@pytest.mark.parametrize("top_p", [1.0, 0.97])
def test_a_flat_vocabulary_is_sampled_beyond_its_best(top_p: float):
    # The best 1024 of 4096 hold about half of the mass.
    logits = torch.linspace(2, 0, 4096)
    expected = logits.softmax(-1)
    expected = torch.where(expected.cumsum(-1) - expected < top_p, expected, 0.0)
    expected /= expected.sum()

    frequencies = _frequencies(logits, seeds=_FEWER_SEEDS, top_p=top_p)

    _assert_close(frequencies.view(8, 512).sum(-1), expected.view(8, 512).sum(-1), seeds=_FEWER_SEEDS)
    assert frequencies[expected == 0].sum() == 0


@pytest.mark.parametrize(
    "fields", [{"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.9}, {"top_k": 6, "top_p": 0.8}], ids=str
)
@pytest.mark.parametrize("min_p", [0.05, 0.3, 1.0])
def test_min_p_keeps_what_transformers_keeps(min_p: float, fields: dict[str, Any]):
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5, 3.0, 2.9, -4.0])

    expected = _warped(logits, min_p=min_p, **fields).softmax(-1)

    frequencies = _frequencies(logits, min_p=min_p, **fields)
    _assert_close(frequencies, expected)
    assert frequencies[expected == 0].sum() == 0


def _warped(
    logits: torch.Tensor, *, min_p: float, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> torch.Tensor:
    """By transformers' own warpers, in the order of its `generate`."""
    warpers = [TemperatureLogitsWarper(temperature)]
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    scores = logits[None].clone()
    for warper in (*warpers, MinPLogitsWarper(min_p)):
        scores = warper(torch.empty(1, 0, dtype=torch.long), scores)
    return scores[0]


@pytest.mark.parametrize("top_p", [1.0, 0.97])
@pytest.mark.parametrize("min_p", [0.2, 0.5, 0.7, 0.9])
def test_min_p_is_exact_in_a_flat_vocabulary(min_p: float, top_p: float):
    # At 0.7 and 0.9 less is kept than the best 1024 that the sampler sorts, at 0.2 and 0.5 more.
    logits = torch.linspace(2, 0, 4096)
    expected = _warped(logits, min_p=min_p, top_p=top_p).softmax(-1)

    frequencies = _frequencies(logits, seeds=_FEWER_SEEDS, min_p=min_p, top_p=top_p)

    _assert_close(frequencies.view(16, 256).sum(-1), expected.view(16, 256).sum(-1), seeds=_FEWER_SEEDS)
    assert frequencies[expected == 0].sum() == 0


def test_a_row_is_sampled_alike_alone_and_among_others():
    torch.manual_seed(0)
    logits = torch.randn(12, 5000) * 3
    rows = [
        _row(
            seed=9_999_999_999 - at,
            temperature=(0.0, 0.7, 1.5)[at % 3],
            top_k=(0, 40, 400, 5000)[at % 4],
            top_p=(1.0, 0.9)[at % 2],
            min_p=(0.0, 0.0, 0.02)[at * 7 % 3],
            repetition_penalty=(1.0, 1.0, 1.0, 1.0, 1.2)[at % 5],
        )
        for at in range(12)
    ]
    positions = torch.arange(12)

    together = Sampler(rows, device="cpu").sample(logits, positions)

    for at, row in enumerate(rows):
        alone = Sampler([row], device="cpu").sample(logits[at : at + 1], positions[at : at + 1])
        assert int(alone) == int(together[at])


def test_temperature_zero_is_greedy_beside_a_sampled_row():
    logits = torch.tensor([0.0, 0.1, 0.05])

    assert _sample(logits, [_row(temperature=0.0), _row(seed=1)])[0] == 1
    assert _sample(logits, [_row(temperature=0.0)]) == [1]


def test_the_repetition_penalty_covers_prompt_and_completion():
    logits = torch.tensor([4.0, 4.2, 4.1, 3.9])

    fields = {"temperature": 0.0, "repetition_penalty": 1.5}
    assert _sample(logits, [_row(prompt_ids=(1,), token_ids=(2,), **fields)]) == [0]


def test_frequency_and_presence_penalties_cover_the_completion_alone():
    logits = torch.tensor([4.0, 4.2, 4.1, 3.9])

    for fields in ({"frequency_penalty": 0.15}, {"presence_penalty": 0.15}):
        row = _row(prompt_ids=(1,), token_ids=(2, 2), temperature=0.0, **fields)
        assert _sample(logits, [row]) == [1]
        assert _sample(logits, [_row(prompt_ids=(2,), token_ids=(1, 1), temperature=0.0, **fields)]) == [2]


def test_penalties_count_the_tokens_they_sampled():
    logits = torch.tensor([[4.0, 3.9, 3.8]])
    sampler = Sampler([_row(temperature=0.0, frequency_penalty=0.15)], device="cpu")

    assert [int(sampler.sample(logits, torch.tensor([at]))) for at in range(4)] == [0, 1, 0, 2]


def test_noise_is_strictly_between_zero_and_one_and_finite_as_gumbel():
    seeds = torch.tensor([[0], [1], [9_999_999_999], [2**63 - 1]])
    uniform = uniform_noise(seeds, torch.tensor([[3]]), torch.arange(50_000)[None])

    assert uniform.min() > 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.005
    assert gumbel_noise(seeds, torch.tensor([[3]]), torch.arange(50_000)[None]).isfinite().all()


def test_the_hash_is_splitmix64():
    # The first output for seed 1234567, as published with the reference code.
    assert int(_splitmix64(torch.tensor(1234567))) == 6457827717110365317
