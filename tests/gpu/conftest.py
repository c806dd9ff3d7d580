"""Tests marked gpu need a CUDA device; without one they are left out, and tests/conftest.py says so."""

import pytest
import torch

from tests.conftest import NO_CUDA

# A first use compiles kernels.
_SECONDS = 600


# First, so that -m gpu finds the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.get_closest_marker("gpu"):
            continue
        item.add_marker(pytest.mark.timeout(_SECONDS))
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason=NO_CUDA))
