"""Dropout and layer norm for training on processors: against torch's own, and against what probability says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.backbones.training_ops import LayerNorm, _LayerNorm, dropout

FORMATS = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (2, 8), (0, 4)])
def test_dropout_keeps_scaled_or_zeroes_and_the_gradient_does_the_same(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(shape, dtype=dtype).requires_grad_()
    dropped = dropout(hidden, 0.25, True)  # a quarter of 65,536 draws: the scale is 4 / 3 exactly
    kept = dropped != 0
    torch.testing.assert_close(
        dropped, torch.where(kept, hidden * (4 / 3), 0), atol=0, rtol=1e-2 * (dtype.itemsize < 4)
    )
    grad = torch.randn(shape, dtype=dtype)
    dropped.backward(grad)
    expected = torch.where(kept, grad * (4 / 3), torch.zeros((), dtype=dtype))
    torch.testing.assert_close(hidden.grad, expected, atol=0, rtol=1e-2 * (dtype.itemsize < 4))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9, 2e-5])
def test_numbers_are_dropped_with_the_probability_and_independently(probability: float) -> None:
    """Shares, and of neighbours at each distance within a word, to five standard errors."""
    torch.manual_seed(1)
    count = 1 << 21
    kept = (dropout(torch.ones(count), probability, True) != 0).double()
    spread = (probability * (1 - probability)) ** 0.5
    assert abs(float(kept.mean()) - (1 - probability)) < 5 * spread / count**0.5 + 1e-5
    places = kept.view(-1, 8).mean(0)  # each of the eight that share a byte
    assert float((places - (1 - probability)).abs().max()) < 5 * spread / (count / 8) ** 0.5 + 1e-5
    if probability > 0.01:
        centred = (kept - kept.mean()) / spread
        for distance in (1, 2, 3, 4, 7, 8, 16, 64):
            assert abs(float((centred[:-distance] * centred[distance:]).mean())) < 5 / count**0.5, distance


def test_the_mean_stays() -> None:
    torch.manual_seed(2)
    for probability in (0.1, 0.3):
        mean = float(dropout(torch.ones(1 << 21), probability, True).mean())
        assert abs(mean - 1) < 5 * (probability / (1 - probability) / (1 << 21)) ** 0.5


def test_dropout_follows_torchs_generator() -> None:
    """A step that is taken again after a resume draws the same, the next one something else."""
    hidden = torch.randn(64, 64)
    torch.manual_seed(3)
    first, second = dropout(hidden, 0.1, True), dropout(hidden, 0.1, True)
    torch.manual_seed(3)
    assert torch.equal(dropout(hidden, 0.1, True), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("probability", "training"), [(0.1, False), (0.0, True), (1e-7, True)])
def test_nothing_is_dropped(probability: float, training: bool) -> None:
    hidden = torch.randn(16, 16)
    torch.testing.assert_close(dropout(hidden, probability, training), hidden, atol=0, rtol=1e-6)


def test_all_is_dropped() -> None:
    assert not dropout(torch.ones(100), 1.0, True).any()


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_no_probability(probability: float) -> None:
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
        dropout(torch.ones(3), probability, True)


def test_dropped_infinities_do_not_come_back() -> None:
    torch.manual_seed(4)
    dropped = dropout(torch.full((1000,), float("inf")), 0.5, True)
    assert set(dropped.tolist()) == {0.0, float("inf")}


def test_numbers_that_lie_across_memory() -> None:
    hidden = torch.randn(6, 10).t().requires_grad_()
    dropped = dropout(hidden, 0.25, True)
    torch.testing.assert_close(dropped, torch.where(dropped != 0, hidden * (4 / 3), 0))


def test_gradients_of_dropout_numerically() -> None:
    def drawn(hidden: Tensor) -> Tensor:
        torch.manual_seed(5)
        return dropout(hidden, 0.3, True)

    assert torch.autograd.gradcheck(drawn, torch.randn(4, 9, dtype=torch.float64, requires_grad=True))


def test_dropout_keeps_one_bit_a_number_for_the_backward_pass() -> None:
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        dropout(torch.randn(64, 64, requires_grad=True), 0.1, True)
    assert kept == [64 * 64 // 8]


def test_gradients_of_the_norm_numerically() -> None:
    """In float64 nothing is rounded, and the backward pass must be that of the forward."""
    torch.manual_seed(0)
    hidden, weight, bias = (torch.randn(shape, dtype=torch.float64) for shape in ((2, 3, 8), (8,), (8,)))
    given = [tensor.requires_grad_() for tensor in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(lambda *some: _LayerNorm.apply(*some, 1e-5, torch.float64), given)


@pytest.fixture
def norms() -> tuple[LayerNorm, nn.LayerNorm]:
    torch.manual_seed(0)
    ours, theirs = LayerNorm(64), nn.LayerNorm(64)
    with torch.no_grad():
        ours.weight.normal_(1.0, 0.3)
        ours.bias.normal_(0.0, 0.3)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def gradients(norm: nn.LayerNorm, hidden: Tensor, weights: Tensor) -> list[Tensor]:
    """Of the input, the scale and the shift."""
    hidden = hidden.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        normed = norm(hidden)
    return list(torch.autograd.grad((normed * weights).sum(), [hidden, norm.weight, norm.bias]))


def test_the_norm_under_autocast_equals_torchs(norms: tuple[LayerNorm, nn.LayerNorm]) -> None:
    """The same output; gradients within what rounding the input to bfloat16, 1 / 256, can make of them."""
    ours, theirs = norms
    hidden = torch.randn(4, 40, 64)
    hidden[..., 5] *= 50  # GPT-2's stream has numbers that stand out
    hidden[0] += 3
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(hidden), theirs(hidden))
    weights = torch.randn_like(hidden)
    for found, expected in zip(gradients(ours, hidden, weights), gradients(theirs, hidden, weights), strict=True):
        assert found.dtype == torch.float32
        assert float((found - expected).norm() / expected.norm()) < 1 / 256


def test_the_norm_keeps_its_input_in_bfloat16(norms: tuple[LayerNorm, nn.LayerNorm]) -> None:
    hidden = torch.randn(4, 40, 64, requires_grad=True)

    def kept(norm: nn.LayerNorm) -> int:
        sizes: list[int] = []
        with (
            torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t),
            torch.autocast("cpu", torch.bfloat16),
        ):
            norm(hidden)
        return sum(sizes)

    ours, theirs = norms
    assert kept(theirs) - kept(ours) == hidden.nbytes // 2


def test_frozen_norms_get_no_gradients(norms: tuple[LayerNorm, nn.LayerNorm]) -> None:
    for norm in norms:
        norm.weight.requires_grad_(False)
    hidden = torch.randn(2, 3, 64)
    results = []
    for norm in norms:
        given = hidden.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            norm(given).square().sum().backward()
        results.append((given.grad, norm.bias.grad))
        assert norm.weight.grad is None
    torch.testing.assert_close(results[0][1], results[1][1])


def test_without_autocast_the_norm_is_torchs(norms: tuple[LayerNorm, nn.LayerNorm]) -> None:
    ours, theirs = norms
    hidden = torch.randn(2, 3, 64, requires_grad=True)
    normed = ours(hidden)
    assert torch.equal(normed, functional.layer_norm(hidden, (64,), theirs.weight, theirs.bias))
    assert type(normed.grad_fn).__name__ == "NativeLayerNormBackward0"
