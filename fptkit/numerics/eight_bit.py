"""Frozen linear maps stored in 8 bits: half the memory of bfloat16, for models that would not fit on the device.

Why not torchao or bitsandbytes: with torchao's tensors (0.18), autograd stores every dequantised weight from the
forward to the backward pass, so that training takes more memory than without them; and bitsandbytes packs a parameter
into another shape, which hides what is frozen. A frozen weight needs no gradient and no update: it is dequantised when
it is multiplied, in both passes, and the parameter keeps its name and shape.

Source: Dettmers et al. 2022, "LLM.int8()": quantisation by row, without the decomposition of outliers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fptkit.errors import UsageError

LEVELS = 127
"""Number of quantisation levels on each side of 0."""


class EightBitLinear(nn.Linear):
    """A frozen ``nn.Linear`` with its weight stored as int8 and one scale per row.

    Args:
        linear: the map to quantise; its bias is reused unchanged.
    """

    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        with torch.no_grad():
            weight = linear.weight.float()
            largest = weight.abs().amax(1, keepdim=True)
            scale = torch.where(largest > 0, largest, 1.0) / LEVELS
            whole = torch.round(weight / scale).to(torch.int8)
        self.weight = nn.Parameter(whole, requires_grad=False)
        # Not saved: like the weight, it is computed from the backbone's own weights again.
        self.register_buffer("scale", scale, persistent=False)
        self.bias = linear.bias

    def forward(self, hidden: Tensor) -> Tensor:
        """Shapes: hidden (..., in) -> (..., out)."""
        return self.rows(hidden, slice(None))

    def rows(self, hidden: Tensor, rows: slice) -> Tensor:
        """Compute only some of the outputs.

        Shapes: hidden (..., in) -> (..., rows).
        """
        device = hidden.device.type
        if torch.is_autocast_enabled(device):
            hidden = hidden.to(torch.get_autocast_dtype(device))
        product: Tensor = _Product.apply(hidden, self.weight[rows], self.scale[rows])
        return product if self.bias is None else product + self.bias[rows].to(product.dtype)


class _Product(torch.autograd.Function):
    """Multiply by a weight that is dequantised now, and again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return functional.linear(hidden, _dequantised(weight, scale, hidden.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return gradient @ _dequantised(weight, scale, gradient.dtype), None, None


def _dequantised(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    # Integers up to 127 are exact in bfloat16.
    return weight.to(dtype) * scale.to(dtype)


def scales(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield name and scale of each 8-bit map of a model; scales are frozen like the weights."""
    for name, module in model.named_modules():
        if isinstance(module, EightBitLinear):
            yield f"{name}.scale", module.scale


def linear_rows(linear: nn.Linear, hidden: Tensor, rows: slice) -> Tensor:
    """Compute only some outputs of a linear map.

    Shapes: hidden (..., in) -> (..., rows).
    """
    if isinstance(linear, EightBitLinear):
        return linear.rows(hidden, rows)
    return functional.linear(hidden, linear.weight[rows], None if linear.bias is None else linear.bias[rows])


def keep_in_eight_bits(backbone: nn.Module, frozen: Sequence[nn.Parameter]) -> None:
    """Replace frozen linear maps by 8-bit ones.

    Args:
        backbone: changed in place.
        frozen: parameters that may be quantised.

    Raises:
        UsageError: none of them is the weight of an ``nn.Linear``.
    """
    may = {id(parameter) for parameter in frozen}
    found = False
    for module in list(backbone.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and id(child.weight) in may:
                setattr(module, name, EightBitLinear(child))
                found = True
    if not found:
        raise UsageError(
            f"precision: int8 stores frozen nn.Linear maps in 8 bits, and {type(backbone).__name__} has none; "
            "use bfloat16, or a model of transformers (backbone.name=huggingface)"
        )
