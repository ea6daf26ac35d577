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

import threading
from dataclasses import dataclass
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


def multiply(hidden: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply by a quantised weight, in integers.

    Shapes: hidden (..., in), weight (out, in), scale and bias (out,) -> (..., out) bfloat16.

    Args:
        hidden: the input; it is rounded to bfloat16 first.
        weight: integers; any strides.
        scale: one for each output.
        bias: added to the outputs.
    """
    trained = bias is not None and bias.requires_grad
    rows = hidden.to(torch.bfloat16).flatten(0, -2)
    product: Tensor = _Product.apply(rows, weight, scale, None if trained else bias)
    product = product.unflatten(0, hidden.shape[:-1])
    return product + bias.to(product.dtype) if trained and bias is not None else product


class _Product(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        inputs = _quantised_rows(rows)
        sums = torch._int_mm(inputs.integers, weight.t())
        bias = None if bias is None else bias.float()
        if inputs.columns is None:
            return dequantise(sums, inputs.scales, scale, bias)
        weights = weight.t()[inputs.columns] * scale
        return dequantise(sums, inputs.scales, scale, bias, inputs.apart, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        integers, scales = quantise(grad.to(torch.bfloat16).contiguous(), scale)
        return dequantise(torch._int_mm(integers, weight), scales, None, None), None, None, None


@dataclass(frozen=True)
class _Rows:
    """Quantised inputs.

    Args:
        of: the inputs, (N, D) bfloat16.
        version: of the inputs: torch raises it when they are changed.
        integers: (N, D) int8, 0 in outlying columns.
        scales: (N,) float32.
        columns: the outlying columns, or None.
        apart: their numbers, (N, columns) float32, or None.
    """

    of: Tensor
    version: int
    integers: Tensor
    scales: Tensor
    columns: Tensor | None
    apart: Tensor | None


class _Last(threading.local):
    """The inputs of the product before: queries, keys and values are often three products of the same inputs."""

    rows: _Rows | None = None


_LAST = _Last()


def _quantised_rows(inputs: Tensor) -> _Rows:
    """Quantise inputs, or find that they are those of the product before."""
    last, real = _LAST.rows, not _is_fake(inputs)
    if (
        real
        and last is not None
        and last.of.data_ptr() == inputs.data_ptr()
        and last.version == inputs._version
        and (last.of.shape, last.of.stride()) == (inputs.shape, inputs.stride())
    ):
        return last
    whole = inputs.contiguous()
    integers, scales, outlying = quantise_apart(whole, None)
    columns, apart = _few(outlying), None
    if columns is not None:
        integers, scales, _ = quantise_apart(whole, columns)
        apart = whole[:, columns].float()
    rows = _Rows(inputs, inputs._version, integers, scales, columns, apart)
    if real:
        _LAST.rows = rows
    return rows


def _few(outlying: Tensor) -> Tensor | None:
    """The outlying columns; None if there are none, or so many that they are the rule.

    One such column would take most of the integers of its row, and the others would be rounded to few.
    """
    if _is_fake(outlying):
        return None
    columns = outlying.nonzero().flatten()
    return columns if 0 < len(columns) <= len(outlying) // FEW else None


def _is_fake(tensor: Tensor) -> bool:
    """True for a tensor without values, as in an estimate."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def quantise(inputs: Tensor, factors: Tensor | None) -> tuple[Tensor, Tensor]:
    """Round rows, times factors, to integers times a scale for each row.

    Shapes: inputs (N, D) bfloat16, factors (D,) or None -> integers (N, D) int8, scales (N,) float32.
    """
    if kernels.run_on(inputs):
        quantised: tuple[Tensor, Tensor] = torch.ops.fptkit.quantise(inputs, factors)
        return quantised
    wide = inputs.float() if factors is None else inputs.float() * factors
    largest = wide.abs().amax(1)
    by = torch.where(largest > 0, LEVELS / largest, 0.0)
    return torch.round(wide * by[:, None]).to(torch.int8), largest / LEVELS


def quantise_apart(inputs: Tensor, columns: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Round rows to integers times a scale for each row, without some columns; mark outlying columns by 1.

    Shapes: inputs (N, D) bfloat16, columns (few,) int64 or None -> integers (N, D) int8, scales (N,) float32, marks (D,)
    int8.

    Args:
        inputs: numbers to round.
        columns: they become 0, and are marked nevertheless if they are outlying.
    """
    kept = None
    if columns is not None:
        kept = torch.ones(inputs.shape[1], device=inputs.device)
        kept[columns] = 0.0
    if kernels.run_on(inputs):
        quantised: tuple[Tensor, Tensor, Tensor] = torch.ops.fptkit.quantise_apart(inputs, kept, OUTLIER)
        return quantised
    wide = inputs.float()
    limit = OUTLIER * wide.square().mean(1, keepdim=True).sqrt()
    return *quantise(inputs, kept), (wide.abs() > limit).any(0).to(torch.int8)


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
