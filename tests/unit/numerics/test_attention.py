"""Attention of many tokens with dropout, in parts, against naive attention with the same weights dropped."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fptkit.numerics import attention
from fptkit.numerics.attention import attend

BATCH, HEADS, TOKENS, WIDTH, DROPOUT = 2, 3, 37, 5, 0.3


@pytest.fixture(autouse=True)
def few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight rows of weights at once, so that 37 tokens make five parts."""
    monkeypatch.setattr(attention, "DROPPED_BYTES", 8 * BATCH * HEADS * TOKENS * 4 + 3)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def naive(query: Tensor, key: Tensor, allowed: Tensor) -> Tensor:
    """Weights of attention without dropout."""
    scores = query @ key.transpose(2, 3) / WIDTH**0.5
    return scores.masked_fill(~allowed, float("-inf")).softmax(-1)


CAUSAL = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
PADDED = (torch.arange(TOKENS) < torch.tensor([[20], [37]]))[:, None, None]
EVERY_ROW = PADDED & CAUSAL


@pytest.mark.parametrize(
    ("mask", "causal", "allowed"),
    [
        (None, True, CAUSAL),
        (None, False, torch.ones(TOKENS, TOKENS, dtype=torch.bool)),
        (PADDED, False, PADDED),
        (EVERY_ROW, False, EVERY_ROW),
    ],
    ids=["causal", "all", "padded", "a row each"],
)
def test_dropped_attention_in_parts(mask: Tensor | None, causal: bool, allowed: Tensor) -> None:
    """The values are the unit matrix, so that the result is the weights after dropout: what was dropped can be seen."""
    query, key = (drawn(BATCH, HEADS, TOKENS, WIDTH, seed=seed) for seed in (0, 1))
    value = torch.eye(TOKENS).expand(BATCH, HEADS, TOKENS, TOKENS)
    torch.manual_seed(5)
    found = attend(query, key, value, mask, dropout=DROPOUT, causal=causal)
    weights = naive(query, key, allowed)
    kept = found.detach() != 0
    assert torch.allclose(found, weights * kept / (1 - DROPOUT), atol=1e-6)
    possible = allowed.expand_as(kept)
    share = 1 - kept[possible].float().mean()
    assert abs(float(share) - DROPOUT) < 0.03
    assert not kept[~possible].any()

    above = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad((found * above).sum(), [query, key])
    theirs = torch.autograd.grad((weights * kept / (1 - DROPOUT) * above).sum(), [query, key])
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-6)

    torch.manual_seed(5)
    assert torch.equal(attend(query, key, value, mask, dropout=DROPOUT, causal=causal), found)


def test_only_inputs_are_kept_until_the_backward_pass() -> None:
    query, key, value = (drawn(BATCH, HEADS, TOKENS, WIDTH, seed=seed) for seed in range(3))
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        attend(query, key, value, None, dropout=DROPOUT)
    assert max(kept, default=0) <= query.numel()


def test_few_weights_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "DROPPED_BYTES", BATCH * HEADS * TOKENS**2 * 4)
    monkeypatch.setattr(attention, "checkpoint", None)  # would fail if it were used
    query, key, value = (drawn(BATCH, HEADS, TOKENS, WIDTH, seed=seed) for seed in range(3))
    torch.manual_seed(1)
    found = attend(query, key, value, None, dropout=DROPOUT)
    torch.manual_seed(1)
    usual = torch.nn.functional.scaled_dot_product_attention(query, key, value, dropout_p=DROPOUT, is_causal=True)
    assert torch.equal(found, usual)
