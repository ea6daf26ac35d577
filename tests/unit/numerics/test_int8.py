"""Products of 8-bit integers: against NumPy, exact where inputs are integers, forward and in the gradient."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fptkit.backbones.gpt2 import Projection
from fptkit.numerics import int8, kernels, precision
from fptkit.numerics.eight_bit import EightBitLinear, leave_uncompiled
from fptkit.numerics.flops import FlopCounter

HALF = 1 / 256
"""The largest relative error of rounding to bfloat16."""

WAYS = ["kernels", "torch"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """With the C kernels and the processor's instructions, and without both."""
    if request.param == "kernels":
        yield request.param
        return
    with (
        mock.patch.object(kernels, "run_on", return_value=False),
        mock.patch.object(int8, "cpu_multiplies_int8", return_value=False),
        torch.autocast("cpu", torch.bfloat16),  # must not round what should be exact
    ):
        yield request.param


def wide(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def inputs_with_outliers(rows: int = 40, width: int = 300) -> Tensor:
    """Some rows have a few numbers that are 30 times as large as the others."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(rows, width, generator=generator)
    inputs[::3, 7] *= 60.0
    inputs[1, [2, 200]] = torch.tensor([80.0, -50.0])
    return inputs.bfloat16()


def integer_case(rows: int, width: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Inputs and a weight that are quantised without error: each row has the largest integer."""
    generator = torch.Generator().manual_seed(rows + width + outputs)
    inputs = torch.randint(-127, 128, (rows, width), generator=generator).float()
    weight = torch.randint(-127, 128, (outputs, width), generator=generator).float()
    inputs[:, -1], weight[:, 0] = 127.0, -127.0
    return inputs, weight * 2**-6


def as_map(weight: Tensor, bias: Tensor | None, *, transposed: bool) -> EightBitLinear:
    linear: nn.Module
    if transposed:
        linear = Projection(weight.shape[1], len(weight))
        linear.weight = nn.Parameter(weight.t().contiguous(), requires_grad=False)
    else:
        linear = nn.Linear(weight.shape[1], len(weight))
        linear.weight = nn.Parameter(weight, requires_grad=False)
    linear.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)  # type: ignore[assignment]
    return EightBitLinear(linear, products=True)


SIZES = [(1, 1, 1), (1, 5, 3), (3, 17, 33), (65, 1031, 7), (40, 64, 130), (0, 6, 4)]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_integers_are_multiplied_exactly(way: str, sizes: tuple[int, int, int], transposed: bool) -> None:
    inputs, weight = integer_case(*sizes)
    bias = torch.arange(sizes[2]).float()
    found = as_map(weight, bias, transposed=transposed)(inputs.bfloat16())
    expected = torch.from_numpy(wide(inputs) @ wide(weight).T + wide(bias))
    assert found.dtype == torch.bfloat16
    np.testing.assert_allclose(wide(found), expected, rtol=HALF, atol=1e-9)
    exact = expected.bfloat16()
    assert (found == exact).double().mean() > 0.9 or not sizes[0]  # beside them are sums that float32 rounds


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_of_integers_are_exact(way: str, sizes: tuple[int, int, int], transposed: bool) -> None:
    """The scales of the weight are all 1 / 64, so that a gradient times scales is as exact as the gradient."""
    inputs, weight = integer_case(*sizes)
    grads, _ = integer_case(sizes[0], sizes[2], 1)
    given = inputs.bfloat16().requires_grad_()
    as_map(weight, None, transposed=transposed)(given).backward(grads.bfloat16())
    assert given.grad is not None
    np.testing.assert_allclose(wide(given.grad), wide(grads) @ wide(weight), rtol=HALF, atol=1e-9)


def test_rows_are_rounded_to_the_nearest_integer(way: str) -> None:
    inputs = inputs_with_outliers()
    integers, scales, limits, marks = int8.quantise_apart(inputs)
    numbers = wide(inputs)
    limit = 10 * np.sqrt((numbers**2).mean(1, keepdims=True))
    apart = np.abs(numbers) > limit
    assert 0 < apart.any(1).sum() < len(numbers)
    np.testing.assert_allclose(limits.numpy(), limit[:, 0], rtol=1e-5)
    np.testing.assert_array_equal(marks.bool().numpy(), apart.any(0))
    kept = np.where(apart, 0, numbers)
    scale = np.abs(kept).max(1, keepdims=True) / 127
    np.testing.assert_allclose(scales.numpy(), scale[:, 0], rtol=1e-6)
    assert np.abs(integers.numpy() - kept / scale).max() <= 0.5 + 1e-4
    assert np.abs(integers.numpy()).max() == 127


def test_gradients_are_rounded_after_the_scales_of_the_outputs(way: str) -> None:
    generator = torch.Generator().manual_seed(0)
    grads, factors = torch.randn(9, 70, generator=generator).bfloat16(), torch.rand(70, generator=generator)
    integers, scales = int8.quantise(grads, factors)
    numbers = wide(grads) * wide(factors)
    np.testing.assert_allclose(scales.numpy(), np.abs(numbers).max(1) / 127, rtol=1e-6)
    assert np.abs(integers.numpy() - numbers / wide(scales)[:, None]).max() <= 0.5 + 1e-4


def numpy_product(inputs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The definition, in float64."""
    scale = np.abs(weight).max(1, keepdims=True) / 127
    whole = np.rint(weight / scale)
    outlying = np.abs(inputs) > 10 * np.sqrt((inputs**2).mean(1, keepdims=True))
    kept, apart = np.where(outlying, 0, inputs), np.where(outlying, inputs, 0)
    by = np.abs(kept).max(1, keepdims=True) / 127
    return np.asarray((np.rint(kept / by) @ whole.T * by + apart @ whole.T) * scale.T)


@pytest.mark.parametrize("transposed", [False, True])
def test_products_with_outliers_are_those_of_numpy(way: str, transposed: bool) -> None:
    inputs, weight = inputs_with_outliers(), torch.randn(50, 300, generator=torch.Generator().manual_seed(2))
    found = wide(as_map(weight, None, transposed=transposed)(inputs))
    expected, true = numpy_product(wide(inputs), wide(weight)), wide(inputs) @ wide(weight).T
    size = np.abs(expected).mean()
    assert np.abs(found - expected).max() < 0.02 * size + HALF * np.abs(expected).max()
    assert np.linalg.norm(found - true) < 0.015 * np.linalg.norm(true)
    # The check can fail: with one scale for all numbers of a row, the small ones are lost.
    by = np.abs(wide(inputs)).max(1, keepdims=True) / 127
    small = np.abs(wide(inputs)) < 10
    lost = np.rint(wide(inputs) / by) * by - wide(inputs)
    assert np.linalg.norm(lost[::3][small[::3]]) > 0.05 * np.linalg.norm(wide(inputs)[::3][small[::3]])


def test_a_row_does_not_depend_on_others() -> None:
    inputs = inputs_with_outliers()
    linear = as_map(torch.randn(50, 300), torch.randn(50), transposed=False)
    together = linear(inputs)
    for rows in (slice(0, 1), slice(1, 3), slice(5, 40)):
        assert torch.equal(linear(inputs[rows]), together[rows])


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "a vector": lambda inputs: inputs[3],
    "a batch": lambda inputs: inputs.unflatten(0, (2, 4, 5)),
    "transposed": lambda inputs: inputs.unflatten(0, (8, 5)).transpose(0, 1),
    "every other column": lambda inputs: inputs.repeat_interleave(2, 1)[:, ::2],
    "expanded": lambda inputs: inputs[:1].expand(6, 300),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_strides(shape: str) -> None:
    inputs = SHAPES[shape](inputs_with_outliers()).detach().requires_grad_()
    linear = as_map(torch.randn(20, 300, generator=torch.Generator().manual_seed(2)), None, transposed=True)
    found = linear(inputs)
    rows = inputs.detach().reshape(-1, 300).clone().requires_grad_()
    expected = linear(rows)
    assert torch.equal(found, expected.view(*inputs.shape[:-1], 20))
    grads = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3)).bfloat16()
    found.backward(grads.view(found.shape))
    expected.backward(grads)
    assert inputs.grad is not None
    assert rows.grad is not None
    assert torch.equal(inputs.grad.reshape(-1, 300), rows.grad)


def test_numbers_without_size(way: str) -> None:
    """Zero stays zero, tiny numbers become zero, and what is not finite stays in its row."""
    inputs = torch.ones(6, 33).bfloat16()
    inputs[0], inputs[1], inputs[2] = 0.0, 1e-38, 1e30
    inputs[3, 4], inputs[4, 5] = float("nan"), float("inf")
    found = as_map(torch.ones(8, 33), None, transposed=False)(inputs).detach()
    assert not found[:2].any()
    np.testing.assert_allclose(wide(found[[2, 5]]), [[33e30] * 8, [33.0] * 8], rtol=HALF)
    assert not found[3:5].isfinite().any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_other_dtypes_multiply_the_dequantised_weight(dtype: torch.dtype) -> None:
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(2))
    linear = as_map(weight, torch.randn(20), transposed=False)
    hidden = torch.randn(4, 30).to(dtype)
    assert linear.bias is not None
    expected = wide(hidden) @ wide(linear.matrix()).T * wide(linear.scale) + wide(linear.bias)
    found = linear(hidden)
    assert found.dtype == dtype
    np.testing.assert_allclose(wide(found), expected, rtol=0, atol=0.05 if dtype == torch.float16 else 1e-4)


def test_a_trained_bias_gets_its_gradient() -> None:
    linear = as_map(torch.randn(20, 30), torch.zeros(20), transposed=False)
    assert linear.bias is not None
    linear.bias.requires_grad_()
    linear(torch.randn(4, 30).bfloat16()).sum().backward()
    assert linear.bias.grad is not None
    assert set(linear.bias.grad.tolist()) == {4.0}


def test_inputs_are_quantised_once_for_several_products_while_they_live() -> None:
    inputs = inputs_with_outliers()
    maps = [as_map(torch.randn(20, 300), None, transposed=False) for _ in range(3)]
    with mock.patch.object(int8, "quantise_apart", side_effect=int8.quantise_apart) as quantised:
        first = [linear(inputs) for linear in maps]
        assert quantised.call_count == 1
        other = inputs.clone()
        maps[0](other)
        assert quantised.call_count == 2
        inputs *= 2.0
        again = maps[0](inputs)
        assert quantised.call_count == 3
    torch.testing.assert_close(again, 2 * first[0])
    maps[0](other)
    assert int8._LAST.rows is not None
    del other, quantised  # the mock keeps its arguments
    gc.collect()
    assert int8._LAST.rows is None


def test_under_inference_mode_nothing_is_reused() -> None:
    inputs = inputs_with_outliers()
    linear = as_map(torch.randn(20, 300, generator=torch.Generator().manual_seed(2)), None, transposed=False)
    expected = linear(inputs)
    with torch.inference_mode():
        hidden = inputs.clone()
        assert torch.equal(linear(hidden), expected)
        hidden *= 2.0
        torch.testing.assert_close(linear(hidden), 2 * expected)


def test_compiled_code_leaves_integer_products_out() -> None:
    model = nn.Sequential(as_map(torch.randn(300, 300), None, transposed=False), nn.Tanh())
    inputs = [inputs_with_outliers(), torch.randn(7, 300).bfloat16()]
    expected = [model(one) for one in inputs]
    leave_uncompiled(model)
    compiled = torch.compile(model, backend="eager", dynamic=True)
    for one, other in zip(inputs, expected, strict=True):
        assert torch.equal(compiled(one), other)


def test_operations_are_counted_as_those_of_floats() -> None:
    linear, inputs = as_map(torch.randn(20, 300), None, transposed=False), inputs_with_outliers().requires_grad_()
    for module in (linear, linear.dequantised().bfloat16()):
        with FlopCounter() as counter:
            module(inputs).sum().backward()
        assert counter.total == 2 * (2 * 40 * 300 * 20)


def test_int8_needs_instructions_and_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(precision, "cpu_multiplies_int8", lambda: True)
    monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(kernels, "why_not", lambda: None)
    assert precision.choose_precision("int8", cpu) == "int8"
    assert "CPUs only" in precision.why_not_int8(torch.device("cuda"))
    monkeypatch.setattr(kernels, "why_not", lambda: "no compiler")
    assert precision.why_not_int8(cpu).endswith("not available: no compiler")
    assert precision.choose_precision("int8", cpu) == "bfloat16"
    monkeypatch.setattr(precision, "cpu_multiplies_int8", lambda: False)
    assert "VNNI" in precision.why_not_int8(cpu)
    monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda: False)
    assert precision.choose_precision("int8", cpu) == "float32"
    assert precision.choose_precision("int8_storage", cpu) == "int8_storage"


def test_auto_takes_int8_only_with_weights_for_which_it_was_shown_to_be_equivalent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(precision, "cpu_multiplies_int8", lambda: True)
    monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(kernels, "why_not", lambda: None)
    monkeypatch.setattr(precision, "EQUIVALENT_IN_INT8", {"builtin:gpt2_nano": "int8.md"})
    assert precision.choose_precision("auto", cpu, "builtin:gpt2_nano") == "int8"
    assert precision.choose_precision("auto", cpu, "builtin:other") == "bfloat16"
    assert precision.choose_precision("bfloat16", cpu, "builtin:gpt2_nano") == "bfloat16"
    monkeypatch.setattr(precision, "cpu_multiplies_int8", lambda: False)
    assert precision.choose_precision("auto", cpu, "builtin:gpt2_nano") == "bfloat16"
