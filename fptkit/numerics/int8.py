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
    product: Tensor = _Product.apply(rows, weight, scale, None if trained else bias).unflatten(0, hidden.shape[:-1])
    return product + bias.to(product.dtype) if trained and bias is not None else product


class _Product(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return _multiply(rows, None, weight.t(), scale, None if bias is None else bias.float())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        weight, scale = ctx.saved_tensors
        return _multiply(grad.to(torch.bfloat16), scale, weight, None, None), None, None, None


def _multiply(
    inputs: Tensor, factors: Tensor | None, weight: Tensor, scale: Tensor | None, bias: Tensor | None
) -> Tensor:
    """Compute ``(inputs * factors) @ (weight * scale) + bias``; outlying columns of the inputs in bfloat16.

    Shapes: inputs (N, D), factors (D,) or None, weight (D, E) int8, scale and bias (E,) or None -> (N, E).
    """
    inputs = inputs.contiguous()
    integers, scales, outlying = quantise_rows(inputs, factors)
    columns = _few(outlying)
    if columns is not None:
        rest = torch.ones_like(scales.new_empty(inputs.shape[1])) if factors is None else factors.clone()
        rest[columns] = 0.0
        integers, scales, _ = quantise_rows(inputs, rest)
    product = dequantise(torch._int_mm(integers, weight), scales, scale, bias)
    if columns is not None:
        apart = inputs[:, columns] if factors is None else (inputs[:, columns] * factors[columns]).to(inputs.dtype)
        few = weight[columns].float() if scale is None else weight[columns] * scale
        product.addmm_(apart, few.to(inputs.dtype))
    return product


def _few(outlying: Tensor) -> Tensor | None:
    """The outlying columns; None if there are none, or so many that they are the rule.

    One such column would take most of the integers of its row, and the others would be rounded to few.
    """
    if outlying.is_meta or isinstance(outlying, FakeTensor):  # no values to look at
        return None
    columns = outlying.nonzero().flatten()
    return columns if 0 < len(columns) <= len(outlying) // FEW else None


def quantise_rows(inputs: Tensor, factors: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Round rows, times factors, to integers times a scale for each row; mark outlying columns by 1.

    Shapes: inputs (N, D) bfloat16, factors (D,) or None -> integers (N, D) int8, scales (N,) float32, marks (D,) int8.
    """
    if kernels.run_on(inputs):
        quantised: tuple[Tensor, Tensor, Tensor] = torch.ops.fptkit.quantise(inputs, factors, OUTLIER)
        return quantised
    wide = inputs.float() if factors is None else inputs.float() * factors
    sizes = wide.abs()
    largest = sizes.amax(1)
    by = torch.where(largest > 0, LEVELS / largest, 0.0)
    limit = OUTLIER * wide.square().mean(1, keepdim=True).sqrt()
    integers = torch.round(wide * by[:, None]).to(torch.int8)
    return integers, largest / LEVELS, (sizes > limit).any(0).to(torch.int8)


def dequantise(sums: Tensor, scales: Tensor, factors: Tensor | None, bias: Tensor | None) -> Tensor:
    """Turn sums of products of integers into numbers.

    Shapes: sums (N, D) int32, scales (N,), factors and bias (D,) or None -> (N, D) bfloat16.
    """
    if kernels.run_on(sums):
        numbers: Tensor = torch.ops.fptkit.dequantise(sums, scales, factors, bias)
        return numbers
    wide = sums.float() * scales[:, None]
    wide = wide if factors is None else wide * factors
    return (wide if bias is None else wide + bias).to(torch.bfloat16)
