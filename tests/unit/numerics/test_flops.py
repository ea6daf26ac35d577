"""Operations are counted as torch's own counter counts them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fptkit.numerics.flops import FlopCounter


class Attention(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        """Query rows fewer than keys, values narrower."""
        return functional.scaled_dot_product_attention(inputs[:, :, :3], inputs, inputs[..., :4])


class Products(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        further = torch.baddbmm(torch.ones(2, 4, 4), inputs, inputs.transpose(1, 2))
        return torch.einsum("bij,bkj->bik", further, further) @ inputs


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 7), (3, 4, 5)),
    "products": (Products, (2, 4, 5)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, dilation=2), (2, 4, 19)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 11)),
    "conv2d in groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 9, 11)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 9, 11)),
    "transposed in groups": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 9)),
    "block": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 4, 8)),
    "recurrent": (lambda: nn.GRU(5, 7, batch_first=True), (2, 4, 5)),
    "no product": (lambda: nn.LayerNorm(5), (2, 5)),
}


def run(module: nn.Module, shape: tuple[int, ...], *, gradient: bool) -> None:
    inputs = torch.ones(shape, requires_grad=gradient)
    found = module(inputs)
    found = found[0] if isinstance(found, tuple) else found
    if found.requires_grad:
        found.sum().backward()


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_counts_are_those_of_torch(name: str, gradient: bool) -> None:
    make, shape = CASES[name]
    module = make()
    with FlopCounterMode(display=False) as expected:
        run(module, shape, gradient=gradient)
    with FlopCounter() as counter:
        run(module, shape, gradient=gradient)
    assert counter.total == expected.get_total_flops()
    assert bool(counter.total) == (name != "no product")


def test_fused_attention_is_counted_as_its_products() -> None:
    with FlopCounter() as counter:
        run(Attention(), (2, 4, 6, 8), gradient=False)
    assert counter.total == 2 * 2 * 4 * 3 * 6 * (8 + 4)


def test_a_formula_that_was_registered_with_torch_is_used() -> None:
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    operator = torch.ops.aten.erfinv
    register_flop_formula(operator)(lambda shape, out_shape=None: 7 * shape.numel())
    try:
        with FlopCounter() as counter:
            torch.erfinv(torch.zeros(3))
    finally:
        del flop_registry[operator]
    assert counter.total == 21


def test_nothing_is_counted_outside() -> None:
    with FlopCounter() as counter:
        pass
    run(nn.Linear(5, 7), (3, 5), gradient=True)
    assert counter.total == 0
