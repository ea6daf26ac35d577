"""Attention by the fastest available method, for every backbone that computes its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fptkit.numerics import kernels

EXPLICIT_TOKENS = 640
"""Number of tokens up to which explicit products are faster than torch's fused attention on CPUs in bfloat16.

For causal attention, forward and backward, the speed was 1.4 times that of fused attention at 500 tokens, 2.4 times at
170, 3.4 times at 24, and 0.7 times at 1,000, on two cores of an AMD EPYC with AVX-512 (``benchmarks/attention.py``).
For attention without a causal mask, the two are equal at about the same length.
"""


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, dropout: float, causal: bool = True
) -> Tensor:
    """Compute attention of R tokens to T tokens.

    Shapes: query (B, heads, R, d), key and value (B, heads, T, d), mask (B, 1, R or 1, T) or None ->
    (B, heads, R, d).

    Args:
        query: queries of the R tokens.
        key: keys of the T tokens.
        value: values of the T tokens.
        mask: true where a token may attend, at least once in each row; None: ``causal`` decides.
        dropout: dropout probability of attention weights.
        causal: without a mask, a token sees itself and earlier tokens (requires R = T); false: it sees all tokens.
    """
    causal = causal and mask is None
    if not _explicit(query, key.shape[2]) or dropout:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal
        )
    scores = torch.baddbmm(
        _forbidden(query, key.shape[2], mask, causal),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=query.shape[-1] ** -0.5,
    )
    return torch.bmm(scores.softmax(-1), value.flatten(0, 1)).unflatten(0, query.shape[:2])


def attend_packed(projected: Tensor, heads: int, *, dropout: float, causal: bool = True) -> Tensor:
    """Compute self-attention from the output of one map to queries, keys and values.

    Shapes: projected (B, T, 3 D) -> (B, T, D).

    Args:
        projected: queries, keys and values, concatenated; each is a concatenation of its heads.
        heads: number of heads.
        dropout: dropout probability of attention weights.
        causal: a token sees itself and earlier tokens; false: it sees all tokens.
    """
    if not dropout and _explicit(projected, projected.shape[1]) and kernels.run_on(projected):
        mixed: Tensor = _Attention.apply(projected, heads, causal)
        return mixed
    query, key, value = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return attend(query, key, value, None, dropout=dropout, causal=causal).transpose(1, 2).flatten(2)


class _Attention(Function):
    """Attention by explicit products, with the softmax of `fptkit.numerics.kernels` and as few copies as possible."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, heads: int, causal: bool) -> Tensor:
        packed = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).contiguous().flatten(1, 2)
        query, key, value = packed
        weights = torch.bmm(query, key.transpose(1, 2))
        ctx.scale, ctx.causal, ctx.heads = query.shape[-1] ** -0.5, causal, heads
        torch.ops.fptkit.softmax_(weights, ctx.scale, causal)
        ctx.save_for_backward(packed, weights)
        return torch.bmm(weights, value).unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        packed, weights = ctx.saved_tensors
        query, key, value = packed
        given = grad.unflatten(-1, (ctx.heads, -1)).transpose(1, 2).flatten(0, 1)
        grads = torch.empty_like(packed)
        torch.bmm(weights.transpose(1, 2), given, out=grads[2])
        scores = torch.bmm(given, value.transpose(1, 2))
        torch.ops.fptkit.softmax_backward_(scores, weights, ctx.scale, ctx.causal)
        torch.bmm(scores, key, out=grads[0])
        torch.bmm(scores.transpose(1, 2), query, out=grads[1])
        return grads.unflatten(1, (-1, ctx.heads)).permute(1, 3, 0, 2, 4).flatten(2), None, None


def _explicit(query: Tensor, tokens: int) -> bool:
    """True if attention to this many tokens is computed by explicit products."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and tokens <= EXPLICIT_TOKENS


def _forbidden(query: Tensor, tokens: int, mask: Tensor | None, causal: bool) -> Tensor:
    """Minus infinity where a token may not attend, else 0; broadcasts to (B * heads, R, T)."""
    rows = query.shape[2]
    if mask is not None:
        forbidden = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, float("-inf"))
        return forbidden.expand(-1, query.shape[1], -1, -1).flatten(0, 1)
    if causal:
        forbidden = torch.full((rows, tokens), float("-inf"), dtype=query.dtype).triu(1)[None]
        return forbidden.expand(len(query) * query.shape[1], rows, tokens)
    return torch.zeros((), dtype=query.dtype).expand(1, 1, 1)
