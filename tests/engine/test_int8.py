"""Layers over bitsandbytes' int8 weights: what they compute, beside the exact product and bitsandbytes' own layer."""

import logging
from collections.abc import Callable

import pytest
import torch
from bitsandbytes.nn.modules import Linear8bitLt
from torch import Tensor, nn

from webapp.engine.int8_kernel import int8_product
from webapp.engine.int8_linear import Int8Linear, LlmInt8Linear, take_over_linears
from webapp.engine.int8_product import Int8Product, find_int8_product, multiply_dequantised, multiply_on_processor

_INPUTS, _OUTPUTS = 96, 40


@pytest.fixture(params=[False, True], ids=["without bias", "with bias"])
def layer(request: pytest.FixtureRequest) -> Linear8bitLt:
    """bitsandbytes' own, without outliers, of random weights."""
    return _layer(has_bias=request.param, dtype=torch.bfloat16)


def _layer(*, has_bias: bool, dtype: torch.dtype) -> Linear8bitLt:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = Linear8bitLt(_INPUTS, _OUTPUTS, bias=has_bias, has_fp16_weights=False, threshold=0.0)
        quantised = layer.to(dtype).to("cpu").eval()
    assert quantised.weight.dtype == torch.int8
    return quantised.requires_grad_(False)


def _inputs(rows: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(1, rows, _INPUTS, generator=torch.Generator().manual_seed(rows)).to(dtype)


def _distance(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("rows", [1, 16, 17, 70])
@pytest.mark.parametrize(
    ("product", "dtype", "most"),
    [
        (multiply_on_processor, torch.bfloat16, 2**-8),
        (multiply_on_processor, torch.float32, 1e-6),
        (multiply_dequantised, torch.bfloat16, 2**-8),
        (multiply_dequantised, torch.float16, 2**-11),
    ],
)
def test_every_way_computes_the_product_of_the_same_numbers(
    product: Int8Product, dtype: torch.dtype, most: float, rows: int
):
    layer = _layer(has_bias=True, dtype=dtype)
    own = Int8Linear(layer, product)
    inputs = _inputs(rows, dtype)

    found = own(inputs)

    exact = (own.weight.double() * own.scales.double()[:, None]) @ inputs[0].double().T
    assert found.dtype == dtype
    assert found.shape == (1, rows, _OUTPUTS)
    assert _distance(found[0], exact.T + layer.bias.double()) < most


def test_sums_past_the_largest_half_are_finite():
    rows = torch.full((2, 1000), 100.0, dtype=torch.float16)
    quants = torch.full((3, 1000), 127, dtype=torch.int8)

    found = multiply_dequantised(rows, quants, torch.full((3,), 1e-3))

    assert _distance(found, torch.full((2, 3), 12700.0)) < 2**-10


@pytest.mark.parametrize("make", [lambda layer: Int8Linear(layer, multiply_on_processor), LlmInt8Linear])
def test_a_row_does_not_depend_on_those_beside_it(make: Callable[[Linear8bitLt], nn.Module], layer: Linear8bitLt):
    own = make(layer)
    inputs = _inputs(20)
    # What bitsandbytes takes for outliers, in other rows.
    others = inputs.clone()
    others[:, 1:] *= 50

    assert torch.equal(own(inputs)[:, 0], own(others)[:, 0])


def test_llm_int8_is_what_bitsandbytes_computes_without_outliers(layer: Linear8bitLt):
    inputs = _inputs(7)
    expected = layer(inputs)

    assert torch.equal(LlmInt8Linear(layer)(inputs), expected)


def test_a_row_of_a_decode_step_is_the_same_alone_and_among_others(layer: Linear8bitLt):
    own = Int8Linear(layer, multiply_on_processor)
    inputs = _inputs(16)

    assert torch.equal(own(inputs)[:, :1], own(inputs[:, :1]))


@pytest.mark.parametrize("rows", [1, 70])
@pytest.mark.parametrize("make", [lambda layer: Int8Linear(layer, multiply_on_processor), LlmInt8Linear])
def test_a_layer_is_one_graph_for_a_compiler(make: Callable[[Linear8bitLt], nn.Module], layer: Linear8bitLt, rows: int):
    own = make(layer)
    inputs = _inputs(rows)

    with torch.inference_mode():
        found = torch.compile(own, backend="eager", fullgraph=True, dynamic=False)(inputs)

    assert torch.equal(found, own(inputs))


def test_the_kernels_operation_is_one_that_compilers_know():
    # For so many rows it runs on any device.
    rows = torch.randn(65, _INPUTS, dtype=torch.bfloat16)
    quants = torch.randint(-127, 128, (_OUTPUTS, _INPUTS), dtype=torch.int8)

    torch.library.opcheck(int8_product, (rows, quants, torch.rand(_OUTPUTS)))


def test_where_the_kernel_does_not_run_weights_are_dequantised_and_the_log_says_so(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        # Triton has no compiler for a processor.
        found = find_int8_product("cpu", torch.float16)

    assert found is multiply_dequantised
    assert "slower than the model in 16 bits" in caplog.text


def test_a_kernel_that_computes_something_else_is_not_taken(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "webapp.engine.int8_kernel.int8_product", lambda rows, *more: multiply_dequantised(rows, *more) * 1.1
    )

    assert find_int8_product("cpu", torch.bfloat16) is multiply_dequantised
    assert "its kernel is wrong by 0.1 for 1 rows" in caplog.text


def test_layers_of_bitsandbytes_are_taken_over_and_their_memory_is_counted():
    model = nn.Sequential(_layer(has_bias=False, dtype=torch.bfloat16), nn.Sequential(nn.Linear(_OUTPUTS, 3)))

    take_over_linears(model, multiply_on_processor)

    assert isinstance(model[0], Int8Linear)
    assert type(model[1][0]) is nn.Linear
    assert sum(buffer.nbytes for buffer in model.buffers()) == _OUTPUTS * (_INPUTS + 4)
