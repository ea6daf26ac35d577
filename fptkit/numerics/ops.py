"""Activations, dropout and norms for training transformers on CPUs.

If the C kernels of `fptkit.numerics.kernels` are available, they take a fraction of the time of torch's own operations
and store less for the backward pass: only a seed for dropout, the standardised input in bfloat16 for layer norm.
Otherwise, and inside torch.compile, torch's own operations are used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fptkit.numerics import kernels

_LEVELS = 1 << 16
"""Dropout probabilities are rounded to multiples of 1 / ``_LEVELS``."""


def gelu(hidden: Tensor) -> Tensor:
    """Compute the tanh approximation of GELU. Shapes: any -> the same."""
    if hidden.dtype != torch.bfloat16 or not kernels.run_on(hidden):
        return functional.gelu(hidden, approximate="tanh")
    activated: Tensor = _Gelu.apply(hidden.contiguous(), torch.ops.fptkit.gelu, torch.ops.fptkit.gelu_backward)
    return activated


def gelu_exact(hidden: Tensor) -> Tensor:
    """Compute GELU, without approximation. Shapes: any -> the same."""
    if hidden.dtype != torch.bfloat16 or not kernels.run_on(hidden):
        return functional.gelu(hidden)
    loops = torch.ops.fptkit
    activated: Tensor = _Gelu.apply(hidden.contiguous(), loops.gelu_exact, loops.gelu_exact_backward)
    return activated


class _Gelu(Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, compute: Any, differentiate: Any) -> Tensor:
        ctx.save_for_backward(hidden)
        ctx.differentiate = differentiate
        activated: Tensor = compute(hidden)
        return activated

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (hidden,) = ctx.saved_tensors
        return ctx.differentiate(grad.contiguous(), hidden), None, None


def silu_product(gate: Tensor, other: Tensor) -> Tensor:
    """Compute ``silu(gate) * other``, the inside of a gated feed-forward block.

    Shapes: both (..., D) -> (..., D).
    """
    halves = gate.dtype == torch.bfloat16 and other.dtype == torch.bfloat16
    if not halves or gate.shape != other.shape or not kernels.run_on(gate):
        return functional.silu(gate) * other
    product: Tensor = _SiluProduct.apply(gate.contiguous(), other.contiguous())
    return product


class _SiluProduct(Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, other: Tensor) -> Tensor:
        ctx.save_for_backward(gate, other)
        product: Tensor = torch.ops.fptkit.silu_product(gate, other)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        given: tuple[Tensor, Tensor] = torch.ops.fptkit.silu_product_backward(grad.contiguous(), *ctx.saved_tensors)
        return given


def dropout(hidden: Tensor, probability: float, training: bool) -> Tensor:
    """Dropout, like ``torch.nn.functional.dropout``.

    With the C kernels, the seed comes from torch's generator, and the probability is rounded to a multiple of
    1 / 65,536; the scale is that of the rounded probability.

    Args:
        hidden: tensor of any shape.
        probability: probability of setting a number to zero, 0 to 1.
        training: false: return ``hidden`` unchanged.
    """
    kept = kept_levels(probability, training)
    formats = hidden.dtype in (torch.float32, torch.bfloat16)
    if kept is None or not formats or not kernels.run_on(hidden):
        return functional.dropout(hidden, probability, training)
    dropped: Tensor = _Dropped.apply(hidden.contiguous(), draw_seed(), kept)
    return dropped


def add_dropped(stream: Tensor, branch: Tensor, probability: float, training: bool) -> Tensor:
    """Compute ``stream + dropout(branch)``, in one pass with the C kernels.

    Shapes: both (..., D) -> (..., D).

    Args:
        stream: the residual stream.
        branch: the output of attention or feed-forward.
        probability: dropout probability, 0 to 1.
        training: false: no dropout.
    """
    kept = kept_levels(probability, training)
    formats = stream.dtype == torch.float32 and branch.dtype in (torch.float32, torch.bfloat16)
    if kept is None or not formats or not kernels.run_on(stream):
        return stream + functional.dropout(branch, probability, training)
    added: Tensor = _AddDropped.apply(stream.contiguous(), branch.contiguous(), draw_seed(), kept)
    return added


def kept_levels(probability: float, training: bool) -> int | None:
    """How many of `_LEVELS` random values keep their number; None for probabilities of 0, 1 or outside this range."""
    kept = round((1.0 - probability) * _LEVELS)
    return kept if training and 0 < kept < _LEVELS else None


def draw_seed() -> Tensor:
    """Seed of the next dropout; a tensor, since it has no value when the model runs on tensors without values."""
    return torch.empty(1, dtype=torch.int64).random_(-(2**63), None)


class _Dropped(Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, seed: Tensor, kept: int) -> Tensor:
        ctx.save_for_backward(seed)
        ctx.kept = kept
        dropped: Tensor = torch.ops.fptkit.dropped(hidden, seed, kept, hidden.dtype)
        return dropped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (seed,) = ctx.saved_tensors
        return torch.ops.fptkit.dropped(grad.contiguous(), seed, ctx.kept, grad.dtype), None, None


class _AddDropped(Function):
    @staticmethod
    def forward(ctx: Any, stream: Tensor, branch: Tensor, seed: Tensor, kept: int) -> Tensor:
        ctx.save_for_backward(seed)
        ctx.kept, ctx.dtype = kept, branch.dtype
        added: Tensor = torch.ops.fptkit.add_dropped(stream, branch, seed, kept)
        return added

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        (seed,) = ctx.saved_tensors
        given = None
        if ctx.needs_input_grad[1]:
            given = torch.ops.fptkit.dropped(grad.contiguous(), seed, ctx.kept, ctx.dtype)
        return grad, given, None, None


def norm_branch(norm: nn.Module, stream: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``norm(stream)``, the input of a residual branch, and ``stream``, to which the branch is added.

    With both as outputs of one function, their gradients are added in one pass. With the C kernels, which run under
    autocast to bfloat16, ``norm(stream)`` is bfloat16.

    Shapes: stream (..., D) -> both (..., D).

    Args:
        norm: a ``torch.nn.LayerNorm``; any other module is called unchanged.
        stream: the residual stream.
    """
    # A subclass may compute something else, and a module with hooks must be called.
    plain = type(norm) is nn.LayerNorm and not norm._forward_hooks and not norm._forward_pre_hooks
    if (
        not plain
        or norm.bias is None
        or not _autocast_to_halves(stream)
        or stream.dtype != torch.float32
        or not kernels.run_on(stream)
    ):
        return norm(stream), stream
    normed, passed = _Branch.apply(stream.contiguous(), norm.weight, norm.bias, norm.eps)
    return normed, passed if stream.requires_grad else stream


class _Branch(Function):
    """Layer norm over the last axis with a bfloat16 result, and its input."""

    @staticmethod
    def forward(ctx: Any, stream: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        normed, standard, scale = torch.ops.fptkit.layer_norm(stream, weight, bias, epsilon)
        ctx.save_for_backward(standard, scale, weight)
        return normed, stream

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, stream_grad: Tensor) -> tuple[Tensor | None, ...]:
        standard, scale, weight = ctx.saved_tensors
        grads = torch.ops.fptkit.layer_norm_backward(
            grad.contiguous(), stream_grad.contiguous(), standard, scale, weight
        )
        return (*(one if asked else None for one, asked in zip(grads, ctx.needs_input_grad, strict=False)), None)


def rms_norm(stream: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Divide by the root of the mean square over the last axis, and multiply by a weight.

    Call it for the input of a residual branch: with the C kernels, which run under autocast to bfloat16, the result is
    bfloat16; otherwise it has the dtype of ``stream``.

    Shapes: stream (..., D), weight (D,) -> (..., D).

    Args:
        stream: the residual stream.
        weight: one number per channel.
        epsilon: added to the mean square.
    """
    floats = stream.dtype == torch.float32 and weight.dtype == torch.float32
    if not floats or not _autocast_to_halves(stream) or not kernels.run_on(stream):
        return stream * torch.rsqrt(stream.square().mean(-1, keepdim=True) + epsilon) * weight
    normed: Tensor = _RmsNorm.apply(stream.contiguous(), weight.contiguous(), epsilon)
    return normed


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, stream: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        normed, standard, scale = torch.ops.fptkit.rms_norm(stream, weight, epsilon)
        ctx.save_for_backward(standard, scale, weight)
        result: Tensor = normed
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        standard, scale, weight = ctx.saved_tensors
        grads = torch.ops.fptkit.rms_norm_backward(grad.contiguous(), standard, scale, weight)
        of_stream, of_weight = (one if asked else None for one, asked in zip(grads, ctx.needs_input_grad, strict=False))
        return of_stream, of_weight, None


def _autocast_to_halves(tensor: Tensor) -> bool:
    """True under autocast to bfloat16 on the tensor's device."""
    device = tensor.device.type
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
