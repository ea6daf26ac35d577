"""Attention pooling is a learned mean of the real tokens, trains, and is not cached."""

from __future__ import annotations

import pytest
import torch

from fptkit.engine.cache.features import _trains_to_read
from fptkit.engine.training import heads
from fptkit.engine.training.heads import AttentionHead
from fptkit.engine.training.options import AttentionOptions
from fptkit.errors import ShapeError
from fptkit.interfaces import Classes, Values
from fptkit.model import Head
from fptkit.options import Options

TOKENS = torch.randn((3, 6, 4), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([6, 4, 1])


def attention(queries: int = 1, count: int = 3) -> AttentionHead:
    return AttentionHead(AttentionOptions(queries=queries), output=Classes(count), width=4, hidden=(), dropout=0.0)


def test_one_query_begins_as_the_mean() -> None:
    mean = Head(Classes(3), 4, readout="mean")
    torch.testing.assert_close(attention().read(TOKENS, LENGTHS), mean.read(TOKENS, LENGTHS))
    torch.testing.assert_close(attention().read(TOKENS, None), mean.read(TOKENS, None))


def test_weights_are_a_softmax_over_real_tokens() -> None:
    head = attention(queries=2)
    found = head.read(TOKENS, LENGTHS)
    assert found.shape == (3, 1, 8)
    for row, length in enumerate(LENGTHS.tolist()):
        real = TOKENS[row, :length]
        expected = [(real @ query).softmax(0) @ real for query in head.scores.weight]
        torch.testing.assert_close(found[row, 0], torch.cat(expected))


def test_its_features_are_not_cached() -> None:
    assert _trains_to_read(attention())
    assert not _trains_to_read(Head(Classes(3), 4, readout="last", hidden=(5,)))


def test_it_gives_one_vector() -> None:
    with pytest.raises(ShapeError, match="reads 2 tokens; use last_k or auto"):
        AttentionHead(AttentionOptions(), output=Classes(2, tokens=2), width=4, hidden=(), dropout=0.0)


def test_the_first_token_is_read() -> None:
    head = heads.first(Options(), output=Values(2), width=4, hidden=(), dropout=0.0)
    assert head.positions(TOKENS, LENGTHS).tolist() == [[0], [0], [0]]  # type: ignore[union-attr]
    assert head(TOKENS[:, :1], LENGTHS).shape == (3, 2)
