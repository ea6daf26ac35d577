"""Attention of many tokens by explicit products, a part of them at a time, as operators ``torch.ops.fptkit``.

The weights of a part fit into a processor's cache. They are computed again in the backward pass instead of being kept,
so memory grows with T, as with torch's fused attention. Causal attention computes no part that nothing attends to.

They are operators so that whoever counts operations sees attention, and not how it was computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.library import register_fake

from fptkit.numerics.flops import FORMULAS
from fptkit.numerics.operators import LIBRARY, define

ROWS = 256
"""Tokens of a part."""

BYTES = 4 * 2**20
"""Bytes of a part's weights. With 1 or 16 MiB, the operators are a fifth slower at 1,000 tokens."""


@dataclass(frozen=True)
class _Part:
    """Rows of some matrices of weights.

    Args:
        number: of the part, from 0.
        matrices: the groups of heads, of all examples.
        rows: the tokens that attend.
        keys: the tokens that they attend to, or some of them.
    """

    number: int
    matrices: slice
    rows: slice
    keys: slice


def _parts(query: Tensor, dropping: Tensor | None, causal: bool) -> Iterator[_Part]:
    count, heads, tokens, _ = query.shape
    # With fewer matrices than threads, some of the threads may have nothing to do. But what is dropped depends on the
    # parts, and must not depend on the number of threads.
    threads = torch.get_num_threads() if dropping is None else 1
    at_once = max(threads, BYTES // (2 * heads * min(ROWS, tokens) * tokens))
    number = 0
    for first in range(0, count, at_once):
        for start in range(0, tokens, ROWS):
            stop = min(start + ROWS, tokens)
            keys = slice(0, stop if causal else tokens)
            yield _Part(number, slice(first, first + at_once), slice(start, stop), keys)
            number += 1


def _weights(query: Tensor, key: Tensor, part: _Part, scale: float, causal: bool) -> Tensor:
    """Weights of a part, before dropout. Shapes: (N, heads, T, d), (N, T, d) -> (n, heads, rows, keys)."""
    picked = query[part.matrices, :, part.rows]
    scores = torch.bmm(picked.flatten(1, 2), key[part.matrices, part.keys].transpose(1, 2))
    scores = scores.unflatten(1, picked.shape[1:3])
    torch.ops.fptkit.softmax_(scores.flatten(0, 1), scale, causal)
    return scores


def _dropped(weights: Tensor, dropping: Tensor | None, part: _Part) -> Tensor:
    """Weights after dropout by a seed and the levels that it keeps, if there is dropout; each part has its own seed."""
    if dropping is None:
        return weights
    after: Tensor = torch.ops.fptkit.dropped(weights, dropping[:1] + part.number, int(dropping[1]), weights.dtype)
    return after


@define("attend_in_parts(Tensor query, Tensor key, Tensor value, Tensor? dropping, float scale, bool causal) -> Tensor")
def _attend(query: Tensor, key: Tensor, value: Tensor, dropping: Tensor | None, scale: float, causal: bool) -> Tensor:
    mixed = _mixed(query, key, value)
    for part in _parts(query, dropping, causal):
        weights = _dropped(_weights(query, key, part, scale, causal), dropping, part)
        found = torch.bmm(weights.flatten(1, 2), value[part.matrices, part.keys])
        mixed[part.matrices, :, part.rows] = found.unflatten(1, weights.shape[1:3])
    return mixed


@register_fake("fptkit::attend_in_parts", lib=LIBRARY)
def _mixed(query: Tensor, key: Tensor, value: Tensor, *_: object) -> Tensor:
    return query.new_empty(*query.shape[:3], value.shape[-1])


@define(
    "attend_in_parts_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor? dropping, float scale,"
    " bool causal) -> (Tensor, Tensor, Tensor)"
)
def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, dropping: Tensor | None, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    of_query, of_key, of_value = _gradients(grad, query, key, value)
    # Every part adds to these, so they are kept in float32 until the end.
    key_sums, value_sums = torch.zeros(key.shape), torch.zeros(value.shape)
    for part in _parts(query, dropping, causal):
        matrices, rows, keys = part.matrices, part.rows, part.keys
        weights = _weights(query, key, part, scale, causal)
        dropped = _dropped(weights, dropping, part)
        given = grad[matrices, :, rows].flatten(1, 2)
        value_sums[matrices, keys] += torch.bmm(dropped.flatten(1, 2).transpose(1, 2), given)
        scores = torch.bmm(given, value[matrices, keys].transpose(1, 2))
        each = (scores.view_as(weights).flatten(0, 1), weights.flatten(0, 1), dropped.flatten(0, 1))
        torch.ops.fptkit.softmax_backward_(*each, scale, causal)
        of_query[matrices, :, rows] = torch.bmm(scores, key[matrices, keys]).unflatten(1, weights.shape[1:3])
        key_sums[matrices, keys] += torch.bmm(scores.transpose(1, 2), query[matrices, :, rows].flatten(1, 2))
    return of_query, of_key.copy_(key_sums), of_value.copy_(value_sums)


@register_fake("fptkit::attend_in_parts_backward", lib=LIBRARY)
def _gradients(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _flops(args: Sequence[Any], out: Any) -> int:
    """Those of fused attention, so that counts do not depend on the machine: all scores, and each of them once."""
    count, heads, tokens, width = args[0].shape
    return int(2 * count * heads * tokens**2 * (width + args[2].shape[-1]))


FORMULAS[torch.ops.fptkit.attend_in_parts] = _flops
FORMULAS[torch.ops.fptkit.attend_in_parts_backward] = lambda args, out: 2 * _flops(args[1:], out)
