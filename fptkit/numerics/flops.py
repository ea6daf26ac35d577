"""Counts floating-point operations (FLOPs) while they run.

The counts agree with torch's own counter, ``torch.utils.flop_counter``. That one imports a compiler of GPU kernels and,
on first use, torch's model compiler, which costs a second and 230 MiB in every run. Its formulas are used only for
operators without a formula here, and if something else has already imported it, since a plugin may have added formulas.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Formula: TypeAlias = Callable[[Sequence[Any], Any], int]
"""Computes the operations of a call from its positional arguments and its result."""

Shape: TypeAlias = Sequence[int]


class FlopCounter(TorchDispatchMode):
    """Context manager that counts the FLOPs of matrix products, convolutions and attention: two per multiply-add.

    Attributes:
        total: FLOPs so far.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch would import its compiler only to skip this

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator and count it; a composite operator is decomposed."""
        kwargs, operator = kwargs or {}, getattr(func, "_overloadpacket", func)
        if operator in _ABOUT_SHAPES:
            return NotImplemented
        formula = FORMULAS.get(operator)
        theirs = None if formula else _formula_of_torch(operator)
        if formula is None and theirs is None and hasattr(func, "decompose") and func is not _DEVICE:
            with self:
                found = func.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
        found = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(args, found)
        elif theirs is not None:
            self.total += theirs(*args, **kwargs, out_val=found)
        return found


def _formula_of_torch(operator: Any) -> Callable[..., int] | None:
    if operator not in _LEFT_TO_TORCH and "torch.utils.flop_counter" not in sys.modules:
        return None
    from torch.utils.flop_counter import flop_registry

    found: Callable[..., int] | None = flop_registry.get(operator)
    return found


def _product(left: Shape, right: Shape) -> int:
    """(..., m, k) times (..., k, n)."""
    return 2 * prod(left) * right[-1]


def _convolution(weight: Shape, places: Shape) -> int:
    """Each weight is used at each place of every example."""
    return 2 * prod(weight) * places[0] * prod(places[2:])


def _convolution_forward(args: Sequence[Any], out: Any) -> int:
    inputs, weight, transposed = args[0], args[1], args[6]
    return _convolution(weight.shape, (inputs if transposed else out).shape)


def _convolution_backward(args: Sequence[Any], out: Any) -> int:
    """Each requested gradient, of inputs and weight, costs as much as the forward pass, except for groups.

    torch counts the weight's gradient as if there were one group; so does this function.
    """
    from_above, inputs, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
    total = 0
    if wanted[0]:
        total += _convolution(weight.shape, (out[0] if transposed else from_above).shape)
    if wanted[1]:
        gradient, (left, right) = out[1].shape, (from_above, inputs) if transposed else (inputs, from_above)
        total += 2 * prod(gradient[2:]) * left.shape[1] * prod(right.shape)
    return total


def _attention_forward(args: Sequence[Any], out: Any) -> int:
    """Fused attention: scores (B, heads, R, T) and the weighted sum of the values."""
    batch, heads, rows, width = args[0].shape
    key, value = args[1].shape, args[2].shape
    return int(2 * batch * heads * rows * key[2] * (width + value[3]))


def _attention_backward(args: Sequence[Any], out: Any) -> int:
    """Twice the forward pass. The scores that a fused kernel recomputes are left out, so that the count does not depend
    on whether attention is fused, and so not on the machine."""
    return 2 * _attention_forward(args[1:], out)


_aten = torch.ops.aten


def _known(*names: str) -> list[Any]:
    """The operators with these names that exist in this version of torch."""
    return [operator for name in names if (operator := getattr(_aten, name, None)) is not None]


_DEVICE = torch.ops.prim.device.default
"""Called on tensors without values; it cannot be decomposed."""

_FUSED = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",  # torch's own counter does not know it
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)

FORMULAS: dict[Any, Formula] = {
    **dict.fromkeys(_known("mm", "bmm", "_int_mm"), lambda args, out: _product(args[0].shape, args[1].shape)),
    **dict.fromkeys(_known("addmm", "baddbmm"), lambda args, out: _product(args[1].shape, args[2].shape)),
    **dict.fromkeys(_known("convolution", "_convolution", "convolution_overrideable"), _convolution_forward),
    **dict.fromkeys(_known("convolution_backward"), _convolution_backward),
    **dict.fromkeys(_known(*_FUSED), _attention_forward),
    **dict.fromkeys(_known(*(f"{name}_backward" for name in _FUSED)), _attention_backward),
}
"""Formulas by operator. Operators of fptkit add theirs where they are defined."""

_ABOUT_SHAPES = frozenset(
    _known(
        "sym_is_contiguous",
        "is_contiguous",
        "is_strides_like_format",
        "is_non_overlapping_and_dense",
        "size",
        "sym_size",
        "stride",
        "sym_stride",
        "storage_offset",
        "sym_storage_offset",
        "numel",
        "sym_numel",
        "dim",
    )
)
"""Queries of a tensor's shape. Some tensor classes, such as nested tensors, answer them in their own way."""

_LEFT_TO_TORCH = frozenset(
    _known(
        "_scaled_mm",
        "cudnn_convolution",
        "_slow_conv2d_forward",
        "_flash_attention_forward",
        "_flash_attention_backward",
        "_efficient_attention_forward",
        "_efficient_attention_backward",
    )
)
"""Operators that no model in fptkit uses, such as attention over unpadded (packed) examples."""
