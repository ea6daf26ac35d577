"""The loops as torch operators, ``torch.ops.fptkit``; for tensors without values they only infer shapes.

They have no gradients: callers define them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import Library, register_fake

from fptkit.numerics.loops import QUANTISE, call

LIBRARY = Library("fptkit", "DEF")
_BLOCK_ROWS = 32
"""As in ``loops.c``."""

_DROPPING = {torch.float32: "drop_floats", torch.bfloat16: "drop_to_halves"}
"""The loop that drops float32 numbers, by the dtype of its result."""


def define(schema: str) -> Any:
    """Register the function as an operator for CPU tensors."""
    name = schema.partition("(")[0]

    def define(function: Any) -> Any:
        LIBRARY.define(schema)
        LIBRARY.impl(name, function, "CPU")
        return function

    return define


def _define_activation(name: str) -> None:
    """Register an activation and its gradient, loops over bfloat16 numbers."""

    def activate(inputs: Tensor) -> Tensor:
        outputs = torch.empty_like(inputs)
        call(name, inputs, outputs, inputs.numel())
        return outputs

    def differentiate(grad: Tensor, inputs: Tensor) -> Tensor:
        outputs = torch.empty_like(inputs)
        call(f"{name}_backward", grad, inputs, outputs, inputs.numel())
        return outputs

    define(f"{name}(Tensor inputs) -> Tensor")(activate)
    define(f"{name}_backward(Tensor grad, Tensor inputs) -> Tensor")(differentiate)


_define_activation("gelu")
_define_activation("gelu_exact")


@define("silu_product(Tensor gate, Tensor other) -> Tensor")
def _silu_product(gate: Tensor, other: Tensor) -> Tensor:
    outputs = torch.empty_like(gate)
    call("silu_product", gate, other, outputs, gate.numel())
    return outputs


@define("silu_product_backward(Tensor grad, Tensor gate, Tensor other) -> (Tensor, Tensor)")
def _silu_product_backward(grad: Tensor, gate: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    of_gate, of_other = _silu_gradients(grad, gate, other)
    call("silu_product_backward", grad, gate, other, of_gate, of_other, gate.numel())
    return of_gate, of_other


@register_fake("fptkit::silu_product_backward", lib=LIBRARY)
def _silu_gradients(grad: Tensor, gate: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(gate), torch.empty_like(other)


@define("rms_norm(Tensor inputs, Tensor weight, float epsilon) -> (Tensor, Tensor, Tensor)")
def _rms_norm(inputs: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    normed, standard, scale = _rms_outputs(inputs, weight, epsilon)
    call("rms_norm", inputs, weight, normed, standard, scale, scale.numel(), len(weight), epsilon)
    return normed, standard, scale


@register_fake("fptkit::rms_norm", lib=LIBRARY)
def _rms_outputs(inputs: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    normed = torch.empty_like(inputs, dtype=torch.bfloat16)
    return normed, torch.empty_like(normed), inputs.new_empty(inputs.shape[:-1])


@define("rms_norm_backward(Tensor grad, Tensor standard, Tensor scale, Tensor weight) -> (Tensor, Tensor)")
def _rms_norm_backward(grad: Tensor, standard: Tensor, scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    rows, width = scale.numel(), len(weight)
    out = torch.empty_like(standard, dtype=torch.float32)
    sums = scale.new_empty(-(-rows // _BLOCK_ROWS), width)
    call("rms_norm_backward", grad, standard, scale, weight, out, sums, rows, width)
    return out, sums.sum(0)


@register_fake("fptkit::rms_norm_backward", lib=LIBRARY)
def _rms_gradients(grad: Tensor, standard: Tensor, scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(standard, dtype=torch.float32), torch.empty_like(weight)


@define("layer_norm(Tensor inputs, Tensor weight, Tensor bias, float epsilon) -> (Tensor, Tensor, Tensor)")
def _layer_norm(inputs: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    normed, standard, scale = _norm_outputs(inputs, weight, bias, epsilon)
    call("layer_norm", inputs, weight, bias, normed, standard, scale, scale.numel(), len(weight), epsilon)
    return normed, standard, scale


@register_fake("fptkit::layer_norm", lib=LIBRARY)
def _norm_outputs(inputs: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    normed = torch.empty_like(inputs, dtype=torch.bfloat16)
    return normed, torch.empty_like(normed), inputs.new_empty(inputs.shape[:-1])


@define(
    "layer_norm_backward(Tensor grad, Tensor stream, Tensor standard, Tensor scale, Tensor weight)"
    " -> (Tensor, Tensor, Tensor)"
)
def _layer_norm_backward(
    grad: Tensor, stream: Tensor, standard: Tensor, scale: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    rows, width = scale.numel(), len(weight)
    out = torch.empty_like(stream)
    sums = stream.new_empty(2, -(-rows // _BLOCK_ROWS), width)
    call("layer_norm_backward", grad, stream, standard, scale, weight, out, sums, rows, width)
    weight_grad, bias_grad = sums.sum(1)
    return out, weight_grad, bias_grad


@register_fake("fptkit::layer_norm_backward", lib=LIBRARY)
def _norm_gradients(
    grad: Tensor, stream: Tensor, standard: Tensor, scale: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(stream), torch.empty_like(weight), torch.empty_like(weight)


@define("dropped(Tensor inputs, Tensor seed, int kept, ScalarType dtype) -> Tensor")
def _dropped(inputs: Tensor, seed: Tensor, kept: int, dtype: torch.dtype) -> Tensor:
    outputs = torch.empty_like(inputs, dtype=dtype)
    name = "drop_halves" if inputs.dtype == torch.bfloat16 else _DROPPING[dtype]
    call(name, seed, inputs, outputs, inputs.numel(), kept)
    return outputs


@register_fake("fptkit::dropped", lib=LIBRARY)
def _dropped_output(inputs: Tensor, seed: Tensor, kept: int, dtype: torch.dtype) -> Tensor:
    return torch.empty_like(inputs, dtype=dtype)


@define("add_dropped(Tensor stream, Tensor inputs, Tensor seed, int kept) -> Tensor")
def _add_dropped(stream: Tensor, inputs: Tensor, seed: Tensor, kept: int) -> Tensor:
    outputs = torch.empty_like(stream)
    name = "add_dropped_halves" if inputs.dtype == torch.bfloat16 else "add_dropped_floats"
    call(name, seed, stream, inputs, outputs, inputs.numel(), kept)
    return outputs


@define("softmax_(Tensor(a!) scores, float scale, bool causal) -> ()")
def _softmax(scores: Tensor, scale: float, causal: bool) -> None:
    if not call("softmax", scores, *scores.shape, scale, causal):
        raise MemoryError("out of memory for a row of attention scores")


@define("softmax_backward_(Tensor(a!) grad, Tensor weights, Tensor dropped, float scale, bool causal) -> ()")
def _softmax_backward(grad: Tensor, weights: Tensor, dropped: Tensor, scale: float, causal: bool) -> None:
    call("softmax_backward", grad, weights, dropped, *weights.shape, scale, causal)


@define("quantise(Tensor inputs, Tensor factors) -> (Tensor, Tensor)")
def _quantise(inputs: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    integers, scales = _quantised(inputs, factors)
    call("quantise", inputs, factors, integers, scales, *inputs.shape, source=QUANTISE)
    return integers, scales


@register_fake("fptkit::quantise", lib=LIBRARY)
def _quantised(inputs: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(inputs, dtype=torch.int8), inputs.new_empty(len(inputs), dtype=torch.float32)


@define("quantise_apart(Tensor inputs, float ratio) -> (Tensor, Tensor, Tensor, Tensor)")
def _quantise_apart(inputs: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    outputs = _quantised_apart(inputs, ratio)
    outputs[-1].zero_()
    call("quantise_apart", inputs, *outputs, *inputs.shape, ratio, source=QUANTISE)
    return outputs


@register_fake("fptkit::quantise_apart", lib=LIBRARY)
def _quantised_apart(inputs: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    integers, scales = _quantised(inputs, inputs)
    return integers, scales, torch.empty_like(scales), integers.new_empty(inputs.shape[1])


@define(
    "dequantise(Tensor sums, Tensor scales, Tensor? factors, Tensor? bias, Tensor? apart, Tensor? weights) -> Tensor"
)
def _dequantise(sums: Tensor, scales: Tensor, *optional: Tensor | None) -> Tensor:
    outputs = _dequantised(sums)
    few = 0 if optional[-1] is None else len(optional[-1])
    call("dequantise", sums, scales, *optional, outputs, *sums.shape, few, source=QUANTISE)
    return outputs


@register_fake("fptkit::dequantise", lib=LIBRARY)
def _dequantised(sums: Tensor, *_: Tensor | None) -> Tensor:
    return torch.empty_like(sums, dtype=torch.bfloat16)


for _like_the_first in ("gelu", "gelu_backward", "gelu_exact", "gelu_exact_backward", "silu_product", "add_dropped"):
    register_fake(f"fptkit::{_like_the_first}", lambda tensor, *_: torch.empty_like(tensor), lib=LIBRARY)
for _in_place in ("softmax_", "softmax_backward_"):
    register_fake(f"fptkit::{_in_place}", lambda *_: None, lib=LIBRARY)
