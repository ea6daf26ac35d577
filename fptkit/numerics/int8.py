"""Products of frozen weights in 8-bit integers, forward and in the gradient of the input.

A frozen weight needs no gradient and never changes, so it is quantised once: integers of -127 to 127 and a scale for
each output. The rows of the input are quantised when they are multiplied, each with its own scale; sums of products are
exact 32-bit integers. A number far larger than the others of its row is multiplied separately, in float32: with one
scale for both, the others would be rounded to few integers. So the result for a row never depends on other rows.

The gradient of the input is that of the quantised weight: the scales of the outputs are multiplied into the gradient of
the outputs, whose rows are then quantised in the same way. So one copy of the weight, a byte for each number, is
multiplied in both directions.

The products are torch's (oneDNN, with VNNI or AMX instructions); what is around them is in ``quantise.c``.

Source: Dettmers et al. 2022, arXiv 2208.07339, "LLM.int8()". There, a column is multiplied separately for all rows, if
one of its numbers is larger than 6.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fptkit.numerics import kernels
from fptkit.numerics.precision import cpu_multiplies_int8

LEVELS = 127
"""Number of quantisation levels on each side of 0."""

OUTLIER = 10.0
"""A number is multiplied separately if it exceeds this many times the root mean square of its row. No more than one in
a hundred can."""

SMALLEST = 1e-30
"""Rows without larger numbers are taken for 0, as in ``quantise.c``."""

LOWEST_LIMIT = 1e-15
"""No number below this is multiplied separately, as in ``quantise.c``."""


def quantise_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row to integers of -127 to 127 times a scale.

    Shapes: weight (out, in) -> integers (out, in) int8, scales (out,) float32.
    """
    wide = weight.float()
    largest = wide.abs().amax(1)
    scale = torch.where(largest > 0, largest, 1.0) / LEVELS
    return torch.round(wide / scale[:, None]).to(torch.int8), scale


def multiply(hidden: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply by a quantised weight, in integers.

    Shapes: hidden (..., in), weight (out, in), scale and bias (out,) -> (..., out) bfloat16.

    Args:
        hidden: the input, in bfloat16.
        weight: integers; any strides.
        scale: one for each output.
        bias: added to the outputs.
    """
    trained = bias is not None and bias.requires_grad
    added = None if trained or bias is None else bias.float()
    product: Tensor = _Product.apply(hidden.reshape(-1, hidden.shape[-1]), _rows_of(hidden), weight, scale, added)
    product = product.view(*hidden.shape[:-1], len(weight))
    return product + bias.to(product.dtype) if trained and bias is not None else product


def integer_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices of integers, exactly.

    Where no fast instructions are known, a model that was trained elsewhere is multiplied in float64, which autocast
    leaves alone.

    Shapes: (N, K), (K, M) int8 -> (N, M) int32.
    """
    if left.is_meta or (left.device.type == "cpu" and cpu_multiplies_int8()):
        return torch._int_mm(left, right)
    return (left.double() @ right.double()).to(torch.int32)


class _Product(Function):
    """Integer products; the rows are those of the first argument, which is only here for its gradient."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, rows: _Rows, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        sums = integer_product(rows.integers, weight.t())
        if rows.columns is None:
            return dequantise(sums, rows.scales, scale, bias)
        return dequantise(sums, rows.scales, scale, bias, rows.apart, weight.t()[rows.columns])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        integers, scales = quantise(grad.to(torch.bfloat16).contiguous(), scale)
        return dequantise(integer_product(integers, weight), scales), None, None, None, None


@dataclass(frozen=True)
class _Rows:
    """Quantised rows of inputs.

    Args:
        integers: (N, D) int8, 0 where a number is multiplied separately.
        scales: (N,) float32.
        columns: columns with such numbers, (few,) int64; None if there are none.
        apart: the numbers, (N, few) float32, 0 where a row has none; or None.
    """

    integers: Tensor
    scales: Tensor
    columns: Tensor | None
    apart: Tensor | None


class _Last(threading.local):
    """The rows of the inputs before, as long as these live: queries, keys and values are often three products of the
    same inputs."""

    inputs: weakref.ref[Tensor] | None = None
    version = 0
    rows: _Rows | None = None

    def of(self, inputs: Tensor) -> _Rows | None:
        """Their rows, unless they are other inputs, or were changed."""
        same = self.inputs is not None and self.inputs() is inputs
        return self.rows if same and inputs._version == self.version else None

    def keep(self, inputs: Tensor, rows: _Rows) -> None:
        self.inputs, self.version, self.rows = weakref.ref(inputs, self._forget), inputs._version, rows

    def _forget(self, gone: weakref.ref[Tensor]) -> None:
        if self.inputs is gone:
            self.inputs = self.rows = None


_LAST = _Last()


@torch.no_grad()
def _rows_of(hidden: Tensor) -> _Rows:
    """Quantise inputs, or find that they are those of the product before."""
    # Inference tensors have no version, so that a change would not be noticed.
    may_keep = not (_has_no_values(hidden) or hidden.is_inference() or torch.compiler.is_compiling())
    found = _LAST.of(hidden) if may_keep else None
    if found is None:
        found = _quantised(hidden.reshape(-1, hidden.shape[-1]).contiguous())
        if may_keep:
            _LAST.keep(hidden, found)
    return found


def _quantised(inputs: Tensor) -> _Rows:
    integers, scales, limits, marks = quantise_apart(inputs)
    if _has_no_values(marks) or not marks.any():
        return _Rows(integers, scales, None, None)
    columns = marks.nonzero().flatten()
    picked = inputs[:, columns].float()
    return _Rows(integers, scales, columns, torch.where(picked.abs() > limits[:, None], picked, 0.0))


def _has_no_values(tensor: Tensor) -> bool:
    """True for a tensor without values, as in an estimate."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def quantise(inputs: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Round rows, times factors, to integers times a scale for each row.

    Shapes: inputs (N, D) bfloat16, factors (D,) -> integers (N, D) int8, scales (N,) float32.
    """
    if kernels.run_on(inputs):
        quantised: tuple[Tensor, Tensor] = torch.ops.fptkit.quantise(inputs, factors.contiguous())
        return quantised
    return _rounded(inputs.float() * factors)


def quantise_apart(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Round rows to integers times a scale for each row, without the numbers that are multiplied separately.

    Shapes: inputs (N, D) bfloat16 -> integers (N, D) int8, scales (N,) float32, limits (N,) float32 above which numbers
    are left out, marks (D,) int8: 1 for columns with such numbers.
    """
    if kernels.run_on(inputs):
        quantised: tuple[Tensor, Tensor, Tensor, Tensor] = torch.ops.fptkit.quantise_apart(inputs, OUTLIER)
        return quantised
    wide = inputs.float()
    limits = (OUTLIER * wide.square().mean(1).sqrt()).clamp(min=LOWEST_LIMIT)
    apart = wide.abs() > limits[:, None]
    return *_rounded(wide.masked_fill(apart, 0.0)), limits, apart.any(0).to(torch.int8)


def _rounded(wide: Tensor) -> tuple[Tensor, Tensor]:
    # Without columns there is no largest number.
    largest = wide.abs().amax(1) if wide.shape[1] else wide.new_zeros(len(wide))
    by = torch.where(largest > SMALLEST, LEVELS / largest, 0.0)
    return torch.round(wide * by[:, None]).to(torch.int8), largest / LEVELS


def dequantise(
    sums: Tensor,
    scales: Tensor,
    factors: Tensor | None = None,
    bias: Tensor | None = None,
    apart: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Turn sums of products of integers into numbers: ``(sums * scales + apart @ weights) * factors + bias``.

    Shapes: sums (N, D) int32, scales (N,), factors and bias (D,) or None, apart (N, few), weights (few, D) int8 ->
    (N, D) bfloat16.
    """
    if kernels.run_on(sums):
        factors, bias, weights = (None if one is None else one.contiguous() for one in (factors, bias, weights))
        numbers: Tensor = torch.ops.fptkit.dequantise(sums, scales, factors, bias, apart, weights)
        return numbers
    wide = sums.float() * scales[:, None]
    if apart is not None and weights is not None:
        wide = wide + (apart.double() @ weights.double()).float()
    wide = wide if factors is None else wide * factors
    return (wide if bias is None else wide + bias).to(torch.bfloat16)
