"""Activations, dropout, norms and attention with gradients: against torch's own, with and without the kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.numerics import attention, attention_parts, kernels
from fptkit.numerics.attention import attend, attend_grouped, attend_packed
from fptkit.numerics.ops import add_dropped, dropout, gelu, gelu_exact, norm_branch, rms_norm, silu_product

FORMATS = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
HALF = 1 / 256
"""The largest relative error of rounding to bfloat16."""


@pytest.fixture
def no_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "run_on", lambda tensor: False)


@pytest.fixture(params=["loops", "torch"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(kernels, "run_on", lambda tensor: False)
    else:
        assert kernels.why_not() is None


@pytest.fixture
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


def saved_bytes(work: Callable[[], object]) -> int:
    """What autograd stores for the backward pass, each storage once."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = work()  # noqa: F841  what is kept lives as long as this
    return sum(seen.values())


# GELU


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("ours", "approximate"), [(gelu, "tanh"), (gelu_exact, "none")])
def test_gelu_and_its_gradient(dtype: torch.dtype, ours: Callable[[Tensor], Tensor], approximate: str) -> None:
    torch.manual_seed(0)
    given = (2 * torch.randn(3, 7, 65)).to(dtype).transpose(0, 1).requires_grad_()
    grad = torch.randn(7, 3, 65).to(dtype)
    ours(given).backward(grad)
    exact = given.detach().double().requires_grad_()
    expected = functional.gelu(exact, approximate=approximate)
    expected.backward(grad.double())
    tolerance = {"rtol": 2 * HALF if dtype == torch.bfloat16 else 1e-5, "atol": 1e-5}
    torch.testing.assert_close(ours(given).double(), expected, **tolerance)
    torch.testing.assert_close(given.grad.double(), exact.grad, **tolerance)


@pytest.mark.parametrize("ours", [gelu, gelu_exact])
def test_gelu_far_from_zero(ours: Callable[[Tensor], Tensor]) -> None:
    given = torch.tensor([-3e38, -1e4, -30.0, -10.0, 0.0, 10.0, 1e4, 3e38]).bfloat16().requires_grad_()
    activated = ours(given)
    activated.float().sum().backward()
    far = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    torch.testing.assert_close(activated.float(), far * given.float(), rtol=0, atol=0)
    torch.testing.assert_close(given.grad.float(), torch.where(given == 0, 0.5, far), rtol=0, atol=1e-5)


# Gated feed-forward


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_gated_product_and_its_gradients(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gate, other, grad = ((3 * torch.randn(4, 5, 67)).to(dtype).transpose(0, 1) for _ in range(3))
    gate.requires_grad_(), other.requires_grad_()
    product = silu_product(gate, other)
    product.backward(grad)
    exact = [each.detach().double().requires_grad_() for each in (gate, other)]
    expected = exact[0] / (1 + torch.exp(-exact[0])) * exact[1]
    expected.backward(grad.double())
    tolerance = {"rtol": 3 * HALF if dtype == torch.bfloat16 else 1e-5, "atol": 1e-4}
    torch.testing.assert_close(product.double(), expected, **tolerance)
    for found, wanted in zip((gate, other), exact, strict=True):
        torch.testing.assert_close(found.grad.double(), wanted.grad, **tolerance)


def test_a_gate_far_from_zero_stays_finite() -> None:
    gate = torch.tensor([-3e38, -1e3, 1e3, 3e38]).bfloat16().requires_grad_()
    product = silu_product(gate, torch.ones(4).bfloat16())
    product.float().sum().backward()
    assert product.float().tolist() == [0.0, 0.0, 1000.0, float(gate.detach()[-1])]
    assert gate.grad.tolist() == [0.0, 0.0, 1.0, 1.0]


# Dropout


@pytest.mark.usefixtures("either")
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
        dropped, torch.where(kept, hidden * (4 / 3), 0), atol=0, rtol=1e-6 if dtype.itemsize > 2 else 1e-2
    )
    grad = torch.randn(shape, dtype=dtype)
    dropped.backward(grad)
    expected = torch.where(kept, grad * (4 / 3), torch.zeros((), dtype=dtype))
    torch.testing.assert_close(hidden.grad, expected, atol=0, rtol=1e-6 if dtype.itemsize > 2 else 1e-2)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9, 2e-5])
def test_numbers_are_dropped_with_the_probability_and_independently(probability: float) -> None:
    """Fractions, at each place within a chunk and for neighbours at several distances, to five standard errors."""
    torch.manual_seed(1)
    count = 1 << 21
    kept = (dropout(torch.ones(count), probability, True) != 0).double()
    spread = (probability * (1 - probability)) ** 0.5
    assert abs(float(kept.mean()) - (1 - probability)) < 5 * spread / count**0.5 + 1e-5
    places = kept.view(-1, 8, 256).mean((0, 2))  # each half of each word of a draw
    assert float((places - (1 - probability)).abs().max()) < 5 * spread / (count / 8) ** 0.5 + 1e-5
    if probability > 0.01:
        centred = (kept - kept.mean()) / spread
        for distance in (1, 2, 3, 4, 8, 64, 255, 256, 512, 768, 1024, 2048):
            assert abs(float((centred[:-distance] * centred[distance:]).mean())) < 5 / count**0.5, distance


@pytest.mark.usefixtures("either")
def test_the_mean_stays() -> None:
    torch.manual_seed(2)
    for probability in (0.1, 0.3):
        mean = float(dropout(torch.ones(1 << 21), probability, True).mean())
        assert abs(mean - 1) < 5 * (probability / (1 - probability) / (1 << 21)) ** 0.5


@pytest.mark.usefixtures("either")
def test_dropout_follows_torchs_generator() -> None:
    """A step repeated after a resume gets the same random numbers, the next one others."""
    hidden = torch.randn(64, 64)
    torch.manual_seed(3)
    first, second = dropout(hidden, 0.1, True), dropout(hidden, 0.1, True)
    torch.manual_seed(3)
    assert torch.equal(dropout(hidden, 0.1, True), first)
    assert not torch.equal(first, second)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(("probability", "training"), [(0.1, False), (0.0, True)])
def test_nothing_is_dropped(probability: float, training: bool) -> None:
    hidden, branch = torch.randn(16, 16), torch.randn(16, 16)
    assert torch.equal(dropout(hidden, probability, training), hidden)
    assert torch.equal(add_dropped(hidden, branch, probability, training), hidden + branch)


@pytest.mark.usefixtures("either")
def test_all_is_dropped() -> None:
    hidden, branch = torch.randn(16, 16), torch.randn(16, 16)
    assert not dropout(hidden, 1.0, True).any()
    assert torch.equal(add_dropped(hidden, branch, 1.0, True), hidden)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_no_probability(probability: float) -> None:
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
        dropout(torch.ones(3), probability, True)
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
        add_dropped(torch.ones(3), torch.ones(3), probability, True)


def test_dropped_infinities_stay_zero() -> None:
    torch.manual_seed(4)
    infinite = torch.full((1000,), float("inf"))
    assert set(add_dropped(torch.zeros(1000), infinite, 0.5, True).tolist()) == {0.0, float("inf")}
    assert set(dropout(infinite, 0.5, True).tolist()) == {0.0, float("inf")}


@pytest.mark.usefixtures("either")
def test_tensors_that_are_not_contiguous() -> None:
    hidden = torch.randn(6, 10).t().requires_grad_()
    dropped = dropout(hidden, 0.25, True)
    torch.testing.assert_close(dropped, torch.where(dropped != 0, hidden * (4 / 3), 0))


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_is_added_is_dropped_and_gradients_reach_both(dtype: torch.dtype) -> None:
    """The stream is added unchanged, and its gradient is the incoming one."""
    torch.manual_seed(5)
    stream = torch.randn(10, 6).t().requires_grad_()
    branch = torch.randn(10, 6).to(dtype).t().requires_grad_()
    added = add_dropped(stream, branch, 0.25, True)
    assert added.dtype == torch.float32
    kept = added != stream
    assert 0 < int(kept.sum()) < kept.numel()
    scaled = torch.where(kept, branch.float() * (4 / 3), 0.0)
    rounding = 1e-6 if dtype == torch.float32 else HALF
    torch.testing.assert_close(added, stream + scaled, atol=rounding * float(scaled.detach().abs().max()), rtol=0)
    grad = torch.randn(6, 10)
    added.backward(grad)
    assert torch.equal(stream.grad, grad)
    assert branch.grad.dtype == dtype
    torch.testing.assert_close(
        branch.grad.float(), torch.where(kept, grad * (4 / 3), 0.0), atol=1e-6, rtol=2 * rounding
    )


def test_a_frozen_branch_gets_no_gradient() -> None:
    stream, branch = torch.randn(8, 8, requires_grad=True), torch.randn(8, 8)
    add_dropped(stream, branch, 0.5, True).sum().backward()
    assert torch.equal(stream.grad, torch.ones(8, 8))
    assert branch.grad is None


def test_dropout_keeps_a_seed_for_the_backward_pass() -> None:
    hidden, branch = torch.randn(64, 64, requires_grad=True), torch.randn(64, 64, requires_grad=True)
    assert saved_bytes(lambda: dropout(hidden, 0.1, True)) == 8
    assert saved_bytes(lambda: add_dropped(hidden, branch, 0.1, True)) == 8


# RMS norm


@pytest.mark.usefixtures("either", "autocast")
@pytest.mark.parametrize("width", [64, 37])
def test_an_rms_norm_and_its_gradients(width: int) -> None:
    torch.manual_seed(0)
    stream, weight = outstanding()[..., :width].requires_grad_(), (1 + 0.3 * torch.randn(width)).requires_grad_()
    grad = torch.randn(4, 40, width)
    normed = rms_norm(stream, weight, 1e-5)
    found = torch.autograd.grad((normed.float() * grad).sum(), [stream, weight])
    exact, scale = stream.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    expected = exact / (exact.square().mean(-1, keepdim=True) + 1e-5).sqrt() * scale
    wanted = torch.autograd.grad((expected * grad.double()).sum(), [exact, scale])
    torch.testing.assert_close(normed.double(), expected, rtol=HALF, atol=1e-2)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < HALF


@pytest.mark.usefixtures("autocast")
def test_an_rms_norm_is_bfloat16_for_the_branch_and_a_frozen_one_gets_no_gradient() -> None:
    stream, weight = outstanding().requires_grad_(), torch.ones(64)
    normed = rms_norm(stream, weight, 1e-6)
    assert normed.dtype == torch.bfloat16
    normed.float().square().sum().backward()
    assert weight.grad is None
    assert bool(torch.isfinite(stream.grad).all())


@pytest.mark.usefixtures("either", "autocast")
def test_an_rms_norm_of_zeros_is_zero() -> None:
    assert not rms_norm(torch.zeros(2, 64), torch.ones(64), 1e-6).any()


# Layer norm


@pytest.fixture
def norms() -> tuple[nn.LayerNorm, nn.LayerNorm]:
    torch.manual_seed(0)
    ours, theirs = nn.LayerNorm(64), nn.LayerNorm(64)
    with torch.no_grad():
        ours.weight.normal_(1.0, 0.3)
        ours.bias.normal_(0.0, 0.3)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def outstanding() -> Tensor:
    """Like GPT-2's stream, which has outliers. Shape (4, 40, 64)."""
    torch.manual_seed(1)
    hidden = torch.randn(4, 40, 64)
    hidden[..., 5] *= 50
    hidden[0] += 3
    return hidden


@pytest.mark.usefixtures("either", "autocast")
def test_a_branch_and_its_stream_are_those_of_torchs_norm(norms: tuple[nn.LayerNorm, nn.LayerNorm]) -> None:
    """Outputs, and gradients of the stream through both, of scale and of shift, up to rounding errors."""
    ours, theirs = norms
    branch_weights, stream_weights = torch.randn(4, 40, 64), torch.randn(4, 40, 64)

    stream = outstanding().requires_grad_()
    normed, passed = norm_branch(ours, stream)
    assert torch.equal(passed, stream)
    found = torch.autograd.grad(
        (normed.float() * branch_weights).sum() + (passed * stream_weights).sum(), [stream, ours.weight, ours.bias]
    )
    stream = outstanding().requires_grad_()
    expected_normed = theirs(stream)
    expected = torch.autograd.grad(
        (expected_normed * branch_weights).sum() + (stream * stream_weights).sum(),
        [stream, theirs.weight, theirs.bias],
    )
    torch.testing.assert_close(normed.float(), expected_normed, rtol=HALF, atol=1e-2)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < HALF


@pytest.mark.usefixtures("autocast")
def test_the_branch_is_bfloat16_and_stores_little(norms: tuple[nn.LayerNorm, nn.LayerNorm]) -> None:
    hidden = outstanding().requires_grad_()
    normed, passed = norm_branch(norms[0], hidden)
    assert (normed.dtype, passed.dtype) == (torch.bfloat16, torch.float32)
    rows, weight = 4 * 40 * 4, 64 * 4
    assert saved_bytes(lambda: norm_branch(norms[0], hidden)) == hidden.numel() * 2 + rows + weight


@pytest.mark.usefixtures("either", "autocast")
@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_frozen_norms_get_no_gradients(norms: tuple[nn.LayerNorm, nn.LayerNorm], frozen: str) -> None:
    ours, theirs = norms
    for norm in norms:
        norm.get_parameter(frozen).requires_grad_(False)
    stream = outstanding().requires_grad_()
    normed, passed = norm_branch(ours, stream)
    (normed.float().square().sum() + passed.sum()).backward()
    assert ours.get_parameter(frozen).grad is None
    given = outstanding().requires_grad_()
    (theirs(given).square().sum() + given.sum()).backward()
    torch.testing.assert_close(stream.grad, given.grad, rtol=0.05, atol=0.05)


@pytest.mark.usefixtures("either", "autocast")
def test_a_stream_that_needs_no_gradient_gets_none(norms: tuple[nn.LayerNorm, nn.LayerNorm]) -> None:
    """Below the lowest trained parameter nothing is computed backward."""
    stream = outstanding()
    normed, passed = norm_branch(norms[0], stream)
    assert passed is stream
    assert normed.requires_grad
    normed.float().sum().backward()
    assert norms[0].bias.grad is not None


@pytest.mark.usefixtures("either", "autocast")
def test_only_one_of_branch_and_stream_is_used(norms: tuple[nn.LayerNorm, nn.LayerNorm]) -> None:
    stream = outstanding().requires_grad_()
    _, passed = norm_branch(norms[0], stream)
    passed.sum().backward()
    assert torch.equal(stream.grad, torch.ones_like(stream))
    stream = outstanding().requires_grad_()
    normed, _ = norm_branch(norms[0], stream)
    normed.float().sum().backward()
    assert bool(stream.grad.any())


def test_without_autocast_the_norm_is_torchs(norms: tuple[nn.LayerNorm, nn.LayerNorm]) -> None:
    ours, theirs = norms
    hidden = torch.randn(2, 3, 64, requires_grad=True)
    normed, passed = norm_branch(ours, hidden)
    assert passed is hidden
    assert torch.equal(normed, functional.layer_norm(hidden, (64,), theirs.weight, theirs.bias))
    assert type(normed.grad_fn).__name__ == "NativeLayerNormBackward0"


class Doubled(nn.LayerNorm):
    def forward(self, hidden: Tensor) -> Tensor:
        return 2 * super().forward(hidden)


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.LayerNorm(64)

    def forward(self, hidden: Tensor) -> Tensor:
        return -self.inside(hidden)


@pytest.mark.usefixtures("autocast")
@pytest.mark.parametrize("norm", [Doubled(64), Wrapped()])
def test_a_module_that_replaces_a_norm_is_called(norm: nn.Module) -> None:
    stream = outstanding()
    normed, passed = norm_branch(norm, stream)
    assert passed is stream
    assert torch.equal(normed, norm(stream))


@pytest.mark.usefixtures("autocast")
def test_hooks_of_a_norm_are_called(norms: tuple[nn.LayerNorm, nn.LayerNorm]) -> None:
    seen = []
    norms[0].register_forward_hook(lambda module, given, output: seen.append(output.shape))
    norm_branch(norms[0], outstanding())
    norms[1].register_forward_pre_hook(lambda module, given: seen.append(given[0].shape))
    norm_branch(norms[1], outstanding())
    assert seen == [(4, 40, 64)] * 2


# Attention


@pytest.fixture(params=["whole", "in parts"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How attention is computed. In parts, of 16 rows of two or more matrices: the last one is smaller."""
    if request.param == "in parts":
        monkeypatch.setattr(attention, "WHOLE_TOKENS", 0)
        monkeypatch.setattr(attention_parts, "ROWS", 16)
        monkeypatch.setattr(attention_parts, "BYTES", 10_000)
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("tokens", [1, 17, 120])
def test_packed_attention_and_its_gradient(tokens: int, causal: bool) -> None:
    """Against torch's in float64."""
    torch.manual_seed(0)
    batch, heads, width = 2, 3, 16
    packed = torch.randn(batch, tokens, 3 * heads * width).bfloat16().requires_grad_()
    grad = torch.randn(batch, tokens, heads * width).bfloat16()
    found = attend_packed(packed, heads, dropout=0.0, causal=causal)
    found.backward(grad)

    exact = packed.detach().double().requires_grad_()
    query, key, value = (part.unflatten(-1, (heads, width)).transpose(1, 2) for part in exact.chunk(3, -1))
    expected = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    expected = expected.transpose(1, 2).flatten(2)
    expected.backward(grad.double())
    torch.testing.assert_close(found.double(), expected, rtol=0.02, atol=0.02)
    error = (packed.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert float(error) < 2 * HALF


DROPPED = 0.25


def dropped_reference(query: Tensor, key: Tensor, value: Tensor, kept: Tensor, allowed: Tensor) -> Tensor:
    """Naive attention of which only some weights are kept."""
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    weights = scores.masked_fill(~allowed, float("-inf")).softmax(-1)
    return (weights * kept / (1 - DROPPED)) @ value


def compare_dropped(found: Tensor, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> None:
    """Values are the unit matrix, so that the result is the weights after dropout: which ones are kept can be seen.
    Result and gradients are compared with those of the reference for the same ones."""
    kept = found.detach() != 0
    possible = allowed.expand_as(kept)
    assert not kept[~possible].any()
    assert abs(1 - float(kept[possible].float().mean()) - DROPPED) < 0.05
    exact = [each.detach().double().requires_grad_() for each in (query, key, value)]
    expected = dropped_reference(*exact, kept, allowed)
    torch.testing.assert_close(found.double(), expected, rtol=0.02, atol=0.02)
    grad = torch.randn(found.shape).bfloat16()
    ours = torch.autograd.grad(found, [query, key, value], grad)
    for one, other in zip(ours, torch.autograd.grad(expected, exact, grad.double()), strict=True):
        assert float((one.double() - other).norm()) < 3 * HALF * float(other.norm())


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("causal", [True, False])
def test_packed_attention_with_dropout_and_its_gradient(causal: bool) -> None:
    torch.manual_seed(0)
    batch, heads, tokens = 3, 2, 32
    query, key = (torch.randn(batch, heads, tokens, tokens).bfloat16().requires_grad_() for _ in range(2))
    value = torch.eye(tokens).expand(batch, heads, -1, -1).bfloat16().clone().requires_grad_()
    packed = torch.cat([each.transpose(1, 2).flatten(2) for each in (query, key, value)], -1)
    found = attend_packed(packed, heads, dropout=DROPPED, causal=causal).unflatten(-1, (heads, -1)).transpose(1, 2)
    allowed = torch.ones(tokens, tokens, dtype=torch.bool)
    compare_dropped(found, query, key, value, allowed.tril() if causal else allowed)


@pytest.mark.parametrize("usual", [True, False], ids=["kernels", "torch"])
@pytest.mark.parametrize("rows", [5, 40])
def test_masked_attention_with_dropout_and_its_gradient(
    rows: int, usual: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not usual:
        monkeypatch.setattr(kernels, "run_on", lambda tensor: False)
    torch.manual_seed(0)
    shape, tokens = (4, 3), 40
    query, key = torch.randn(*shape, rows, tokens).bfloat16(), torch.randn(*shape, tokens, tokens).bfloat16()
    value = torch.eye(tokens).expand(*shape, -1, -1).bfloat16().clone()
    given = [each.requires_grad_() for each in (query, key, value)]
    allowed = (torch.arange(tokens) < torch.tensor([[9], [40], [40], [23]]))[:, None, None]
    found = attend(query, key, value, allowed, dropout=DROPPED, causal=False)
    compare_dropped(found, *given, allowed)


def test_what_attention_with_dropout_keeps(way: str) -> None:
    packed, kept = torch.randn(2, 64, 3 * 32).bfloat16().requires_grad_(), 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        attend_packed(packed, 4, dropout=0.1)
    # In bfloat16: inputs, and weights before and after dropout; in parts, inputs, the seed and its levels.
    assert kept == 2 * packed.numel() + (16 if way == "in parts" else 2 * 2 * 2 * 4 * 64 * 64)


def test_packed_attention_without_kernels_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    packed = torch.randn(2, 33, 3 * 48).bfloat16()
    ours = attend_packed(packed, 3, dropout=0.0)
    monkeypatch.setattr(kernels, "run_on", lambda tensor: False)
    torch.testing.assert_close(attend_packed(packed, 3, dropout=0.0).float(), ours.float(), rtol=0.02, atol=0.02)


@pytest.mark.usefixtures("no_loops")
def test_unavailable_kernels_are_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a loop was run")

    monkeypatch.setattr("fptkit.numerics.loops.call", refuse)
    monkeypatch.setattr("fptkit.numerics.operators.call", refuse)
    hidden = torch.randn(4, 8, 3 * 64).bfloat16()
    gelu(hidden)
    dropout(hidden.float(), 0.1, True)
    add_dropped(hidden.float(), hidden, 0.1, True)
    attend_packed(hidden, 4, dropout=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        norm_branch(nn.LayerNorm(192), hidden.float())


# Attention of heads in groups


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("heads", "groups", "tokens", "width"), [(9, 3, 65, 16), (4, 4, 7, 8), (6, 1, 1, 8)])
def test_grouped_attention_and_its_gradients(causal: bool, heads: int, groups: int, tokens: int, width: int) -> None:
    torch.manual_seed(0)
    shapes = [(2, tokens, heads, width), (2, tokens, groups, width), (2, tokens, groups, width)]
    given = [torch.randn(shape).bfloat16().requires_grad_() for shape in shapes]
    grad = torch.randn(2, heads, tokens, width).bfloat16()
    mixed = attend_grouped(*(each.transpose(1, 2) for each in given), scale=0.3, causal=causal, dropout=0.0)
    assert mixed is not None
    found = torch.autograd.grad(mixed, given, grad)
    exact = [each.detach().double().requires_grad_() for each in given]
    query, key, value = (each.transpose(1, 2) for each in exact)
    key, value = (each.repeat_interleave(heads // groups, 1) for each in (key, value))
    scores = query @ key.transpose(2, 3) * 0.3
    if causal:
        scores = scores.masked_fill(torch.ones(tokens, tokens).triu(1).bool(), float("-inf"))
    expected = scores.softmax(-1) @ value
    torch.testing.assert_close(mixed.double(), expected, rtol=0.02, atol=0.03)
    for one, other in zip(found, torch.autograd.grad(expected, exact, grad.double()), strict=True):
        assert float((one.double() - other).norm()) <= 0.02 * float(other.norm()) + 0.01


@pytest.mark.usefixtures("way")
def test_dropout_of_attention_weights() -> None:
    """With values of one, each token's result is the sum of its kept weights: 1 on average; gradients use the same."""
    torch.manual_seed(0)
    query, key = torch.randn(8, 4, 64, 16).bfloat16(), torch.randn(8, 4, 64, 16).bfloat16()
    value = torch.ones(8, 4, 64, 16).bfloat16().requires_grad_()
    mixed = attend_grouped(query, key, value, scale=0.1, causal=False, dropout=0.25)
    assert mixed is not None
    assert float(mixed.detach().float().mean()) == pytest.approx(1, abs=0.02)
    assert float(mixed.detach().float().std()) > 0.03
    mixed.float().sum().backward()
    totals = mixed.detach().float()[..., 0].sum((-1, -2))
    torch.testing.assert_close(value.grad.float()[..., 0].sum((-1, -2)), totals, rtol=0.01, atol=0)


@pytest.mark.parametrize("case", ["float32", "other tokens", "no kernels"])
def test_grouped_attention_says_when_it_does_not_apply(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dtype = torch.float32 if case == "float32" else torch.bfloat16
    query, key = (
        torch.randn(1, 2, 3, 8, dtype=dtype),
        torch.randn(1, 2, 4 if case == "other tokens" else 3, 8).to(dtype),
    )
    if case == "no kernels":
        monkeypatch.setattr(kernels, "run_on", lambda tensor: False)
    assert attend_grouped(query, key, key, scale=1.0, causal=True, dropout=0.0) is None
