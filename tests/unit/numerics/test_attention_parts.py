"""Attention in parts at its real sizes, against torch's fused attention; test_ops.py has small ones in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fptkit.numerics import attention_parts, kernels
from fptkit.numerics.attention import WHOLE_TOKENS, attend_grouped, attend_packed
from fptkit.numerics.flops import FlopCounter

pytestmark = pytest.mark.skipif(kernels.why_not() is not None, reason="the C kernels are unavailable")
HEADS, WIDTH = 3, 16


def packed(batch: int, tokens: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(batch, tokens, 3 * HEADS * WIDTH, generator=torch.Generator().manual_seed(seed))
    return drawn.bfloat16().requires_grad_()


def fused(given: Tensor, *, causal: bool) -> Tensor:
    query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in given.chunk(3, -1))
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return mixed.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("tokens", [WHOLE_TOKENS, WHOLE_TOKENS + 1, 700])
def test_many_tokens(tokens: int, causal: bool) -> None:
    given, grad = packed(2, tokens), torch.randn(2, tokens, HEADS * WIDTH).bfloat16()
    found = attend_packed(given, HEADS, dropout=0.0, causal=causal)
    found.backward(grad)
    exact = given.detach().float().requires_grad_()
    expected = fused(exact, causal=causal)
    expected.backward(grad.float())
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.01)
    assert given.grad is not None
    assert exact.grad is not None
    error = (given.grad.float() - exact.grad).norm() / exact.grad.norm()
    assert float(error) < 0.01


def test_an_example_does_not_depend_on_the_others() -> None:
    given = packed(5, WHOLE_TOKENS + 50)
    whole = attend_packed(given, HEADS, dropout=0.0)
    for number in range(5):
        alone = attend_packed(given[number : number + 1], HEADS, dropout=0.0)
        torch.testing.assert_close(alone[0], whole[number], rtol=0, atol=0)


def test_later_tokens_change_nothing_in_causal_attention() -> None:
    given = packed(1, 600)
    changed = given.detach().clone()
    changed[:, 450:] = 7
    before, after = (attend_packed(each, HEADS, dropout=0.0)[:, :450] for each in (given, changed))
    assert torch.equal(before, after)
    assert not torch.equal(*(attend_packed(each, HEADS, dropout=0.0, causal=False) for each in (given, changed)))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_number_of_threads_changes_nothing(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_parts, "BYTES", 1)  # as many matrices as threads, without dropout
    given, before = packed(2, 500), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            torch.manual_seed(3)
            mixed = attend_packed(given, HEADS, dropout=dropout)
            found.append((mixed, *torch.autograd.grad(mixed.float().square().sum(), given)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_operations_are_those_of_fused_attention() -> None:
    given = packed(2, 600)
    totals = []
    for compute in (lambda: attend_packed(given, HEADS, dropout=0.0), lambda: fused(given, causal=True)):
        with FlopCounter() as counter:
            compute().sum().backward()
        totals.append(counter.total)
    assert totals[0] == totals[1] == 3 * 4 * 2 * HEADS * 600**2 * WIDTH


def test_few_weights_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one part: a fraction of a percent of all, forward and backward."""
    sizes: list[int] = []
    plain = torch.bmm

    def noted(left: Tensor, right: Tensor) -> Tensor:
        found = plain(left, right)
        sizes.append(found.numel() * found.element_size())
        return found

    monkeypatch.setattr(torch, "bmm", noted)
    given = packed(8, 2000)
    attend_packed(given, HEADS, dropout=0.1).sum().backward()
    assert len(sizes) > 20
    assert max(sizes) <= max(attention_parts.BYTES, 2 * torch.get_num_threads() * attention_parts.ROWS * 2000)
    assert max(sizes) < 0.05 * 2 * 8 * HEADS * 2000**2


def test_groups_with_many_tokens_and_dropout_repeat_with_the_same_seed() -> None:
    torch.manual_seed(1)
    query = torch.randn(2, 4, 500, 16).bfloat16().requires_grad_()
    key, value = (torch.randn(2, 2, 500, 16).bfloat16() for _ in range(2))

    def once() -> tuple[Tensor, Tensor]:
        torch.manual_seed(2)
        mixed = attend_grouped(query, key, value, scale=0.25, causal=True, dropout=0.2)
        assert mixed is not None
        (grad,) = torch.autograd.grad(mixed.float().square().sum(), query)
        return mixed, grad

    (first, grad), (again, same) = once(), once()
    assert torch.equal(first, again)
    assert torch.equal(grad, same)
    plain = attend_grouped(query, key, value, scale=0.25, causal=True, dropout=0.0)
    assert plain is not None
    assert not torch.equal(first, plain)
