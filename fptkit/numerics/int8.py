"""Products of frozen weights in 8-bit integers, forward and in the gradient of the input.

A frozen weight needs no gradient and never changes, so it is quantised once: integers of -127 to 127 and a scale for
each output. The rows of the input are quantised when they are multiplied, each with its own scale; sums of products are
exact 32-bit integers. A column of the input that has far larger numbers than the others is multiplied apart, in bfloat16.
The gradient of the input is that of the quantised weight: the scales of the outputs are
multiplied into the gradient of the outputs, whose rows are then quantised in the same way. So one copy of the weight, a
byte for each number, is multiplied in both directions.

Products are torch's (oneDNN: VNNI and AMX instructions; cuBLAS); what is around them is in ``quantise.c``.

Source: Dettmers et al. 2022, arXiv 2208.07339, "LLM.int8()".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fptkit.numerics import kernels

LEVELS = 127
"""Number of quantisation levels on each side of 0."""

OUTLIER = 10.0
"""A column of inputs is outlying if one of its numbers exceeds this many times the root mean square of its row."""

FEW = 32
"""At most one in this many columns is outlying."""


def quantise_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row to integers of -127 to 127 times a scale.

    Shapes: weight (out, in) -> integers (out, in) int8, scales (out,) float32.
    """
    wide = weight.float()
    largest = wide.abs().amax(1)
    scale = torch.where(largest > 0, largest, 1.0) / LEVELS
    return torch.round(wide / scale[:, None]).to(torch.int8), scale


class Outliers:
    """The columns of inputs that were outlying when a map was used last, in either direction.

    They are only a guess for the next time, which saves quantising twice; results do not depend on it.
    """

    def __init__(self) -> None:
        self.forward: Tensor | None = None
        self.backward: Tensor | None = None


def multiply(hidden: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, outliers: Outliers) -> Tensor:
    """Multiply by a quantised weight, in integers.

    Shapes: hidden (..., in), weight (out, in), scale and bias (out,) -> (..., out) bfloat16.

    Args:
        hidden: the input; it is rounded to bfloat16 first.
        weight: integers; any strides.
        scale: one for each output.
        bias: added to the outputs.
        outliers: of this map; updated.
    """
    trained = bias is not None and bias.requires_grad
    rows = hidden.to(torch.bfloat16).flatten(0, -2)
    product: Tensor = _Product.apply(rows, weight, scale, None if trained else bias, outliers)
    product = product.unflatten(0, hidden.shape[:-1])
    return product + bias.to(product.dtype) if trained and bias is not None else product


class _Product(Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, outliers: Outliers
    ) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.outliers = outliers
        product, outliers.forward = _multiply(
            rows, None, weight.t(), scale, None if bias is None else bias.float(), guess=outliers.forward
        )
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        grad = grad.to(torch.bfloat16)
        given, ctx.outliers.backward = _multiply(grad, scale, weight, None, None, guess=ctx.outliers.backward)
        return given, None, None, None, None


def _multiply(
    inputs: Tensor,
    factors: Tensor | None,
    weight: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    *,
    guess: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Compute ``(inputs * factors) @ (weight * scale) + bias``; outlying columns of the inputs apart, in floats.

    Shapes: inputs (N, D), factors (D,) or None, weight (D, E) int8, scale and bias (E,) or None -> (N, E).

    Args:
        inputs: bfloat16.
        factors: of the columns of the inputs.
        weight: integers.
        scale: of the columns of the weight.
        bias: added.
        guess: columns that may be outlying.

    Returns:
        The product, and the outlying columns.
    """
    inputs = inputs.contiguous()
    guess = None if guess is not None and len(guess) and int(guess[-1]) >= inputs.shape[1] else guess
    integers, scales, outlying = quantise_rows(inputs, factors, guess)
    columns = _few(outlying)
    if not _equal(columns, guess):
        integers, scales, _ = quantise_rows(inputs, factors, columns)
    sums = torch._int_mm(integers, weight)
    if columns is None:
        return dequantise(sums, scales, scale, bias), None
    apart = inputs[:, columns].float()
    few = weight[columns].float()
    apart = apart if factors is None else apart * factors[columns]
    return dequantise(sums, scales, scale, bias, apart, few if scale is None else few * scale), columns


def _few(outlying: Tensor) -> Tensor | None:
    """The outlying columns; None if there are none, or so many that they are the rule.

    One such column would take most of the integers of its row, and the others would be rounded to few.
    """
    if outlying.is_meta or isinstance(outlying, FakeTensor):  # no values to look at
        return None
    columns = outlying.nonzero().flatten()
    return columns if 0 < len(columns) <= len(outlying) // FEW else None


def _equal(columns: Tensor | None, others: Tensor | None) -> bool:
    if columns is None or others is None:
        return columns is others
    return torch.equal(columns, others)


def quantise_rows(inputs: Tensor, factors: Tensor | None, apart: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Round rows, times factors, to integers times a scale for each row; mark outlying columns by 1.

    Shapes: inputs (N, D) bfloat16, factors (D,) or None, apart (columns,) int64 or None -> integers (N, D) int8,
    scales (N,) float32, marks (D,) int8.

    Args:
        inputs: numbers to round.
        factors: of the columns.
        apart: columns that become 0; they are marked nevertheless if they are outlying.
    """
    masks = None
    if apart is not None:
        masks = torch.full((inputs.shape[1],), -1, dtype=torch.int32, device=inputs.device)
        masks[apart] = 0
    if kernels.run_on(inputs):
        quantised: tuple[Tensor, Tensor, Tensor] = torch.ops.fptkit.quantise(inputs, factors, masks, OUTLIER)
        return quantised
    wide = inputs.float() if factors is None else inputs.float() * factors
    limit = OUTLIER * wide.square().mean(1, keepdim=True).sqrt()
    outlying = (wide.abs() > limit).any(0).to(torch.int8)
    kept = wide if masks is None else wide * (masks != 0)
    largest = kept.abs().amax(1)
    by = torch.where(largest > 0, LEVELS / largest, 0.0)
    return torch.round(kept * by[:, None]).to(torch.int8), largest / LEVELS, outlying


def dequantise(
    sums: Tensor,
    scales: Tensor,
    factors: Tensor | None,
    bias: Tensor | None,
    apart: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Turn sums of products of integers into numbers, and add ``apart @ weights``.

    Shapes: sums (N, D) int32, scales (N,), factors and bias (D,) or None, apart (N, few), weights (few, D) ->
    (N, D) bfloat16.
    """
    if kernels.run_on(sums):
        numbers: Tensor = torch.ops.fptkit.dequantise(sums, scales, factors, bias, apart, weights)
        return numbers
    wide = sums.float() * scales[:, None]
    wide = wide if factors is None else wide * factors
    wide = wide if bias is None else wide + bias
    return (wide if apart is None or weights is None else wide + apart @ weights).to(torch.bfloat16)
