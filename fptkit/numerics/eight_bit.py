"""Frozen linear maps in 8 bits: multiplied in integers, or only stored so and dequantised when they are multiplied.

Storage only is for models that would not fit on the device. Why not torchao or bitsandbytes: with torchao's tensors
(0.18), autograd stores every dequantised weight from the forward to the backward pass, so that training takes more
memory than without them; and bitsandbytes packs a parameter into another shape, which hides what is frozen. A frozen
weight needs no gradient and no update: it is dequantised when it is multiplied, in both passes, and the parameter keeps
its name and shape.

Source: Dettmers et al. 2022, "LLM.int8()": quantisation by row.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fptkit.errors import UsageError
from fptkit.numerics.int8 import multiply, quantise_weight


class EightBitLinear(nn.Linear):
    """A frozen linear map with its weight stored as int8, in the original's layout, and one scale for each output.

    Args:
        linear: the map to quantise, a ``nn.Linear`` or one with its weight stored as (in, out); its bias is reused
            unchanged.
        products: multiply integers, under autocast to bfloat16; false: dequantise the weight first.
    """

    scale: Tensor

    def __init__(self, linear: nn.Module, *, products: bool = False) -> None:
        nn.Module.__init__(self)
        self.products, self.transposed = products, _is_transposed(linear)
        weight: Any = linear.weight
        with torch.no_grad():
            whole, scale = quantise_weight(weight.t() if self.transposed else weight)
        self.out_features, self.in_features = whole.shape
        self.weight = nn.Parameter(whole.t().contiguous() if self.transposed else whole, requires_grad=False)
        # Not saved: like the weight, it is computed from the backbone's own weights again.
        self.register_buffer("scale", scale, persistent=False)
        self.bias = linear.bias  # type: ignore[assignment]
        # What `dequantised` needs of the original, without its weight; in a tuple, so that it is no submodule.
        shell = copy.copy(linear)
        shell._parameters = {}
        self._shell = (shell,)

    def forward(self, hidden: Tensor) -> Tensor:
        """Shapes: hidden (..., in) -> (..., out)."""
        return self.rows(hidden, slice(None))

    def rows(self, hidden: Tensor, rows: slice) -> Tensor:
        """Compute only some of the outputs.

        Shapes: hidden (..., in) -> (..., rows).
        """
        weight, scale = self.matrix()[rows], self.scale[rows]
        bias = None if self.bias is None else self.bias[rows]
        device = hidden.device.type
        if torch.is_autocast_enabled(device):
            hidden = hidden.to(torch.get_autocast_dtype(device))
        if self.products and hidden.dtype == torch.bfloat16:
            return multiply(hidden, weight, scale, bias)
        product: Tensor = _Product.apply(hidden, weight, scale[:, None])
        return product if bias is None else product + bias.to(product.dtype)

    def part(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        """Compute only the outputs from ``start`` up to ``stop``.

        Shapes: hidden (..., in) -> (..., stop - start).
        """
        return self.rows(hidden, slice(start, stop))

    def matrix(self) -> Tensor:
        """The integers. Shapes: (out, in)."""
        return self.weight.t() if self.transposed else self.weight

    def dequantised(self) -> nn.Module:
        """The original map with the weight rounded, in float32."""
        plain = copy.copy(self._shell[0])
        with torch.no_grad():
            weight = self.matrix().float() * self.scale[:, None]
            bias = None if self.bias is None else self.bias.detach().float()
        plain._parameters = {
            "weight": nn.Parameter(weight.t().contiguous() if self.transposed else weight, requires_grad=False),
            "bias": None if bias is None else nn.Parameter(bias, requires_grad=False),
        }
        return plain


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


def scales(model: nn.Module, *, stored: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Yield name and scale of each 8-bit map of a model; scales are frozen like the weights.

    Their shape differs between products and storage, so that a digest of them does, and a run that was made with one
    never continues with the other.

    Args:
        model: the model.
        stored: with the shape for storage in any case.
    """
    for name, module in model.named_modules():
        if isinstance(module, EightBitLinear):
            yield f"{name}.scale", module.scale if module.products and not stored else module.scale[:, None]


def leave_uncompiled(model: nn.Module) -> None:
    """Let torch.compile leave out the maps that multiply integers.

    What they do depends on numbers, such as whether there are outliers: code would be compiled again and again.
    """
    for module in model.modules():
        if isinstance(module, EightBitLinear) and module.products:
            module.rows = torch.compiler.disable(module.rows)  # type: ignore[method-assign]


def linear_rows(linear: nn.Linear, hidden: Tensor, rows: slice) -> Tensor:
    """Compute only some outputs of a linear map.

    Shapes: hidden (..., in) -> (..., rows).
    """
    if isinstance(linear, EightBitLinear):
        return linear.rows(hidden, rows)
    return functional.linear(hidden, linear.weight[rows], None if linear.bias is None else linear.bias[rows])


def _is_transposed(module: nn.Module) -> bool:
    """True for a map with a weight (in, out), such as those of fptkit's GPT-2 and transformers' ``Conv1D``."""
    return getattr(module, "weight_is_transposed", False) or type(module).__name__ == "Conv1D"


def linear_maps(backbone: nn.Module, frozen: Sequence[nn.Parameter]) -> list[tuple[nn.Module, str]]:
    """Find the linear maps whose weights may be quantised: their parents and names.

    Neither modules nor parameters are returned, so that a weight is released as soon as its integers exist.

    Args:
        backbone: looked through.
        frozen: parameters that may be quantised.
    """
    may = {id(parameter) for parameter in frozen}
    return [
        (module, name)
        for module in backbone.modules()
        for name, child in module.named_children()
        if (type(child) is nn.Linear or _is_transposed(child)) and id(child.weight) in may
    ]


def keep_in_eight_bits(backbone: nn.Module, frozen: Sequence[nn.Parameter], *, products: bool) -> None:
    """Replace frozen linear maps by 8-bit ones.

    Args:
        backbone: changed in place.
        frozen: parameters that may be quantised.
        products: multiply integers; false: only store them.

    Raises:
        UsageError: none of them is the weight of a linear map.
    """
    places = linear_maps(backbone, frozen)
    del frozen
    for module, name in places:
        setattr(module, name, EightBitLinear(getattr(module, name), products=products))
    if not places:
        raise UsageError(
            f"precision: {'int8' if products else 'int8_storage'} quantises frozen linear maps, and "
            f"{type(backbone).__name__} has none; use precision: bfloat16, or another backbone"
        )
