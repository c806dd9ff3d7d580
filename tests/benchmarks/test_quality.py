"""Divergence, agreement and perplexity of distributions that are known."""

import numpy as np
import pytest

from benchmarks.quality import divergence, perplexity, top1_agreement

EVEN = np.log(np.array([[0.5, 0.5], [0.5, 0.5]], dtype=np.float32))
UNEVEN = np.log(np.array([[0.75, 0.25], [0.25, 0.75]], dtype=np.float32))


def test_divergence_from_itself_is_nothing() -> None:
    assert divergence(UNEVEN, UNEVEN + 3) == pytest.approx(0.0, abs=1e-6)


def test_divergence_is_measured_from_the_reference() -> None:
    assert divergence(UNEVEN, EVEN) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), abs=1e-6)


def test_agreement_is_the_share_of_equal_likeliest_tokens() -> None:
    assert top1_agreement(UNEVEN, UNEVEN[[0, 0]]) == 0.5


def test_perplexity_is_that_of_each_next_token() -> None:
    assert perplexity(UNEVEN, [0, 1]) == pytest.approx(4.0, rel=1e-5)
