"""Attention by the fastest way there is, for every backbone that computes its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fptkit.numerics import kernels

EXPLICIT_TOKENS = 640
"""Up to this many tokens, explicit products beat torch's fused attention on processors in bfloat16.

Causal, forward and backward were 1.4 times as fast at 500 tokens, 2.4 times at 170, 3.4 times at 24, and 0.7 times at
1,000, on two cores of an AMD EPYC with AVX-512 (``benchmarks/attention.py``). Where every token sees all, the two meet
at about the same length.
"""


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, dropout: float, causal: bool = True
) -> Tensor:
    """Attention of some tokens to all.

    Shapes: query (B, heads, R, d), key and value (B, heads, T, d), mask (B, 1, R or 1, T) or None ->
    (B, heads, R, d).

    Args:
        query: of the tokens that look.
        key: of the tokens that are looked at.
        value: of the same.
        mask: true where a token may look, and at least one of each row is; None leaves it to ``causal``.
        dropout: probability of dropping an attention weight.
        causal: without a mask, a token sees itself and those before it (and then R = T); false: it sees all.
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
    """Attention of all tokens to each other or to those before them, from one map to queries, keys and values.

    Shapes: projected (B, T, 3 D) -> (B, T, D).

    Args:
        projected: queries, keys and values one after the other, each head by head.
        heads: how many there are.
        dropout: probability of dropping an attention weight.
        causal: a token sees itself and those before it; false: it sees all.
    """
    if not dropout and _explicit(projected, projected.shape[1]) and kernels.run_on(projected):
        mixed: Tensor = _Attention.apply(projected, heads, causal)
        return mixed
    query, key, value = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return attend(query, key, value, None, dropout=dropout, causal=causal).transpose(1, 2).flatten(2)


class _Attention(Function):
    """Attention written out, with the softmax of `fptkit.numerics.kernels` and as few copies as there can be."""

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
    """Whether attention to so many tokens is written out."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and tokens <= EXPLICIT_TOKENS


def _forbidden(query: Tensor, tokens: int, mask: Tensor | None, causal: bool) -> Tensor:
    """Minus infinity where a token may not look, else 0; it broadcasts to (B * heads, R, T)."""
    rows = query.shape[2]
    if mask is not None:
        forbidden = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, float("-inf"))
        return forbidden.expand(-1, query.shape[1], -1, -1).flatten(0, 1)
    if causal:
        forbidden = torch.full((rows, tokens), float("-inf"), dtype=query.dtype).triu(1)[None]
        return forbidden.expand(len(query) * query.shape[1], rows, tokens)
    return torch.zeros((), dtype=query.dtype).expand(1, 1, 1)
