"""Attention by the fastest available method, for every backbone that computes its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from fptkit.numerics import kernels, ops

EXPLICIT_TOKENS = 640
"""Number of tokens up to which explicit products of everything at once are faster than torch's fused attention on CPUs
in bfloat16, without the C kernels (``benchmarks/attention.py``)."""

WHOLE_TOKENS = 400
"""Number of tokens up to which it is faster, with the C kernels, to compute all weights at once and keep them than to
compute them in parts, and again in the backward pass (``benchmarks/attention.py``)."""

DROPPED_BYTES = 32 * 2**20
"""Most bytes of attention weights that are computed at once on CPUs, where fused attention has no dropout.

Without this limit, each block keeps three tensors of B x heads x R x T numbers until the backward pass: 144 MiB for
each example of GPT-2 base with 1,024 tokens.
"""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    dropout: float,
    causal: bool = True,
    scale: float | None = None,
) -> Tensor:
    """Compute attention of R tokens to T tokens.

    Shapes: query (B, heads, R, d), key and value (B, heads, T, d), mask (B, 1, R or 1, T) or None ->
    (B, heads, R, d).

    Args:
        query: queries of the R tokens.
        key: keys of the T tokens.
        value: values of the T tokens.
        mask: true where a token may attend; None: ``causal`` decides. Where a row has no true, the result is finite.
        dropout: dropout probability of attention weights.
        causal: without a mask, a token sees itself and earlier tokens (requires R = T); false: it sees all tokens.
        scale: factor on the products of queries and keys; None: 1 / sqrt(d).
    """
    causal = causal and mask is None
    if dropout and query.device.type == "cpu" and _rows_at_once(query, key) < query.shape[2]:
        return _attend_in_parts(query, key, value, mask, dropout=dropout, causal=causal, scale=scale)
    if not _explicit(query, key.shape[2]):
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scale
        )
    scores = torch.baddbmm(
        _forbidden(query, key.shape[2], mask, causal),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        alpha=query.shape[-1] ** -0.5 if scale is None else scale,
    )
    weights = ops.dropout(scores.softmax(-1), dropout, training=True)
    return torch.bmm(weights, value.flatten(0, 1)).unflatten(0, query.shape[:2])


def _rows_at_once(query: Tensor, key: Tensor) -> int:
    """Tokens whose attention weights take `DROPPED_BYTES` at most, of all examples and heads; at least one."""
    batch, heads, _, _ = query.shape
    return max(1, DROPPED_BYTES // (batch * heads * key.shape[2] * query.element_size()))


def _attend_in_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    dropout: float,
    causal: bool,
    scale: float | None,
) -> Tensor:
    """Compute `attend` for a few tokens at a time, and again in the backward pass with the same dropout, so that memory
    grows with R and T instead of their product."""
    tokens, rows = query.shape[2], _rows_at_once(query, key)
    parts = []
    for start in range(0, tokens, rows):
        stop = min(start + rows, tokens)
        seen = stop if causal else key.shape[2]
        allowed = mask
        if causal:
            allowed = torch.ones(stop - start, seen, dtype=torch.bool).tril(start)
        elif mask is not None and mask.shape[2] > 1:
            allowed = mask[:, :, start:stop]
        part = checkpoint(
            functional.scaled_dot_product_attention,
            query[:, :, start:stop],
            key[:, :, :seen],
            value[:, :, :seen],
            attn_mask=allowed,
            dropout_p=dropout,
            scale=scale,
            use_reentrant=False,
            preserve_rng_state=True,
        )
        parts.append(part)
    return torch.cat(parts, dim=2)


def attend_packed(projected: Tensor, heads: int, *, dropout: float, causal: bool = True) -> Tensor:
    """Compute self-attention from the output of one map to queries, keys and values.

    Shapes: projected (B, T, 3 D) -> (B, T, D).

    Args:
        projected: queries, keys and values, concatenated; each is a concatenation of its heads.
        heads: number of heads.
        dropout: dropout probability of attention weights.
        causal: a token sees itself and earlier tokens; false: it sees all tokens.
    """
    ours = _halves_on_cpu(projected) and kernels.run_on(projected) and _can_drop(dropout)
    if ours and projected.shape[1] <= WHOLE_TOKENS:
        mixed: Tensor = _Attention.apply(projected, heads, causal, _draw_dropping(dropout))
        return mixed
    query, key, value = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    if ours:
        scale = query.shape[-1] ** -0.5
        in_parts: Tensor = _InParts.apply(query, key, value, scale, causal, _draw_dropping(dropout))
        return in_parts.transpose(1, 2).flatten(2)
    return attend(query, key, value, None, dropout=dropout, causal=causal).transpose(1, 2).flatten(2)


Dropping = tuple[Tensor, int] | None
"""The seed of a dropout and its levels kept, see `kept_levels`; None: all weights are kept."""


def _can_drop(dropout: float) -> bool:
    """Whether `_draw_dropping` can express a probability."""
    return not dropout or ops.kept_levels(dropout, training=True) is not None


def _draw_dropping(dropout: float) -> Dropping:
    kept = ops.kept_levels(dropout, training=True)
    return None if kept is None else (ops.draw_seed(), kept)


def _dropped(numbers: Tensor, dropping: Dropping) -> Tensor:
    """Numbers after dropout; themselves without it."""
    if dropping is None:
        return numbers
    seed, kept = dropping
    after: Tensor = torch.ops.fptkit.dropped(numbers, seed, kept, numbers.dtype)
    return after


class _Attention(Function):
    """Attention by explicit products, with the softmax of `fptkit.numerics.kernels` and as few copies as possible.

    Weights are kept for the backward pass in bfloat16; with dropout, before and after it.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, heads: int, causal: bool, dropping: Dropping) -> Tensor:
        packed = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).contiguous().flatten(1, 2)
        query, key, value = packed
        weights = torch.bmm(query, key.transpose(1, 2))
        ctx.scale, ctx.causal, ctx.heads = query.shape[-1] ** -0.5, causal, heads
        torch.ops.fptkit.softmax_(weights, ctx.scale, causal)
        dropped = _dropped(weights, dropping)
        ctx.save_for_backward(packed, weights, dropped)
        return torch.bmm(dropped, value).unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        packed, weights, dropped = ctx.saved_tensors
        query, key, value = packed
        given = grad.unflatten(-1, (ctx.heads, -1)).transpose(1, 2).flatten(0, 1)
        grads = torch.empty_like(packed)
        torch.bmm(dropped.transpose(1, 2), given, out=grads[2])
        scores = torch.bmm(given, value.transpose(1, 2))
        torch.ops.fptkit.softmax_backward_(scores, weights, dropped, ctx.scale, ctx.causal)
        torch.bmm(scores, key, out=grads[0])
        torch.bmm(scores.transpose(1, 2), query, out=grads[1])
        return grads.unflatten(1, (-1, ctx.heads)).permute(1, 3, 0, 2, 4).flatten(2), None, None, None


def attend_grouped(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, causal: bool, dropout: float
) -> Tensor | None:
    """Compute self-attention of all tokens to all or to earlier ones, with the C kernels.

    Shapes: query (B, heads, T, d), key (B, groups, T, d), value (B, groups, T, d') -> (B, heads, T, d'); heads is a
    multiple of groups, and each group of heads shares its keys and values.

    Args:
        query: queries.
        key: keys.
        value: values.
        scale: factor on the products of queries and keys.
        causal: a token sees itself and earlier tokens; false: it sees all tokens.
        dropout: dropout probability of attention weights.

    Returns:
        The mixed values; None if another implementation is faster or the kernels do not apply.
    """
    tokens = key.shape[2]
    if query.shape[2] != tokens or not all(map(_halves_on_cpu, (query, key, value))) or not kernels.run_on(query):
        return None
    if query.shape[1] % key.shape[1] or key.shape[1] != value.shape[1]:
        return None
    if not _can_drop(dropout):
        return None
    compute = _Grouped if tokens <= WHOLE_TOKENS else _InParts
    mixed: Tensor = compute.apply(query, key, value, scale, causal, _draw_dropping(dropout))
    return mixed


class _Grouped(Function):
    """`_Attention` for separate queries, keys and values, heads in groups, and dropout of the weights."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        causal: bool,
        dropping: Dropping,
    ) -> Tensor:
        batch, heads, tokens, _ = query.shape
        grouped = query.reshape(batch * key.shape[1], -1, query.shape[-1])
        keys, values = key.flatten(0, 1).contiguous(), value.flatten(0, 1).contiguous()
        weights = torch.bmm(grouped, keys.transpose(1, 2))
        torch.ops.fptkit.softmax_(weights.view(batch * heads, tokens, tokens), scale, causal)
        dropped = _dropped(weights, dropping)
        ctx.save_for_backward(grouped, keys, values, weights, dropped)
        ctx.scale, ctx.causal, ctx.groups = scale, causal, key.shape[1]
        return torch.bmm(dropped, values).view(batch, heads, tokens, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grouped, keys, values, weights, dropped = ctx.saved_tensors
        batch, heads, tokens, _ = grad.shape
        given = grad.reshape(batch * ctx.groups, -1, grad.shape[-1])
        of_values = torch.bmm(dropped.transpose(1, 2), given)
        scores = torch.bmm(given, values.transpose(1, 2))
        each = [tensor.view(batch * heads, tokens, tokens) for tensor in (scores, weights, dropped)]
        torch.ops.fptkit.softmax_backward_(*each, ctx.scale, ctx.causal)
        of_queries, of_keys = torch.bmm(scores, keys), torch.bmm(scores.transpose(1, 2), grouped)
        return (
            of_queries.view(batch, heads, tokens, -1),
            of_keys.unflatten(0, (batch, ctx.groups)),
            of_values.unflatten(0, (batch, ctx.groups)),
            *[None] * 3,
        )


class _InParts(Function):
    """`_Grouped` of many tokens, see `fptkit.numerics.attention_parts`."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, dropping: Dropping
    ) -> Tensor:
        drawn = None if dropping is None else torch.cat([dropping[0], torch.tensor([dropping[1]])])
        groups = key.shape[:2]
        # (B * groups, heads of a group, T, d), and keys and values (B * groups, T, d)
        inputs = (
            query.reshape(groups.numel(), -1, *query.shape[2:]),
            key.flatten(0, 1).contiguous(),
            value.flatten(0, 1).contiguous(),
        )
        ctx.save_for_backward(*inputs, drawn)
        ctx.others, ctx.shapes = (scale, causal), (query.shape, key.shape, value.shape)
        mixed: Tensor = torch.ops.fptkit.attend_in_parts(*inputs, drawn, scale, causal)
        return mixed.reshape(*query.shape[:3], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, drawn = ctx.saved_tensors
        given = grad.reshape(*query.shape[:3], -1)
        grads = torch.ops.fptkit.attend_in_parts_backward(given, query, key, value, drawn, *ctx.others)
        return (*(one.view(shape) for one, shape in zip(grads, ctx.shapes, strict=True)), None, None, None)


def _halves_on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.bfloat16


def _explicit(query: Tensor, tokens: int) -> bool:
    """True if attention to this many tokens is computed by explicit products of everything at once."""
    return _halves_on_cpu(query) and tokens <= EXPLICIT_TOKENS


def _forbidden(query: Tensor, tokens: int, mask: Tensor | None, causal: bool) -> Tensor:
    """A number below all scores where a token may not attend, else 0; broadcasts to (B * heads, R, T)."""
    rows = query.shape[2]
    if mask is not None:
        # Not infinity: the row of a padded token may have no token to attend to, and NaN would spread from it.
        lowest = torch.finfo(query.dtype).min
        forbidden = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, lowest)
        return forbidden.expand(-1, query.shape[1], -1, -1).flatten(0, 1)
    if causal:
        forbidden = torch.full((rows, tokens), float("-inf"), dtype=query.dtype).triu(1)[None]
        return forbidden.expand(query.shape[0] * query.shape[1], rows, tokens)
    return torch.zeros((), dtype=query.dtype).expand(1, 1, 1)
