"""Checks that a backbone computes with finite numbers, also in mixed precision. Public in `fptkit.testing`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fptkit.backbones.front import Front, make_front
from fptkit.backbones.options import FrontOptions
from fptkit.interfaces import Backbone
from fptkit.numerics.precision import IN_FEWER_BITS, MATRIX
from fptkit.options import Options
from fptkit.seeds import generator_for

EXTREMES = (0.0, 1e-30, 1e4)
"""Sizes of token vectors: a norm must neither divide by zero nor let gradients overflow for any."""


def check_finite(build: Callable[[int], Backbone], *, tokens: int = 9, options: Options | None = None) -> None:
    """Check that numbers are finite for tokens of zeros, tiny and huge numbers; a part of `check_backbone`.

    Quick enough for the full depth of a model, and only there a gradient that grows in every block is seen.

    Args:
        build: see `check_backbone`.
        tokens: T of the check.
        options: see `check_backbone`.

    Checked: outputs, and the norms of all gradients, as a run clips them; in float32 and bfloat16.
    """
    asked = FrontOptions() if options is None else FrontOptions.of(options)
    backbone = build(tokens + asked.prefix.count).eval()
    front = make_front(asked, backbone, tokens=tokens, seed=0) or Front()
    generator = generator_for(0, "check_finite")
    inputs = torch.randn((3, tokens, backbone.width), generator=generator)
    weights = torch.randn(backbone.width, generator=generator)
    for precision in (torch.float32, torch.bfloat16):
        for size in EXTREMES:
            _check_finite(backbone, front, size * inputs, weights, precision)


def _check_finite(backbone: Backbone, front: Front, inputs: Tensor, weights: Tensor, precision: torch.dtype) -> None:
    """Outputs and the norms of gradients are finite numbers.

    Args:
        backbone: the backbone, in evaluation mode.
        front: what is added to the tokens.
        inputs: (B, T, D), the tokens.
        weights: (D,), weights of the sum that is differentiated.
        precision: dtype of matrix products, as a run chooses it.
    """
    what = f"tokens of up to {float(inputs.abs().max()):.0e} in {str(precision).removeprefix('torch.')}"
    name = type(backbone).__name__
    inputs.requires_grad_()
    with torch.autocast(inputs.device.type, precision, enabled=precision != torch.float32):
        hidden = front.run(backbone, inputs, None, None)
    assert bool(torch.isfinite(hidden).all()), f"{name}: {what} give an output that is not finite"
    parameters = (*front.named_parameters(), *backbone.named_parameters())
    sources = {"the tokens": inputs, **{n: p for n, p in parameters if p.requires_grad}}
    gradients = torch.autograd.grad((hidden.float() * weights).sum(), list(sources.values()), allow_unused=True)
    for source, gradient in zip(sources, gradients, strict=True):
        finite = gradient is None or bool(torch.isfinite(torch.linalg.vector_norm(gradient)))
        assert finite, f"{name}: {what} give a gradient of {source} that is not finite, or whose norm is not"


def check_mixed_precision(build: Callable[[int], Backbone], *, tokens: int = 9) -> None:
    """Check a backbone as a run in bfloat16 has it: frozen matrices stored in bfloat16, under autocast.

    Args:
        build: as for `check_backbone`.
        tokens: as for `check_backbone`.

    Checked: shape; the output is float32 or bfloat16 and finite; two evaluations give the same; a finite gradient
    reaches the tokens.
    """
    backbone = build(tokens).eval()
    name, roles = type(backbone).__name__, backbone.parameter_roles()
    for parameter, value in backbone.named_parameters():
        value.requires_grad_(False)
        if value.ndim >= MATRIX and value.dtype == torch.float32 and roles[parameter].role in IN_FEWER_BITS:
            value.data = value.data.to(torch.bfloat16)
    inputs = torch.randn((2, tokens, backbone.width), generator=generator_for(0, "check_mixed_precision"))
    inputs.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output, again = backbone(inputs), backbone(inputs)
    assert output.shape == inputs.shape, f"{name}: (B, T, D) {tuple(inputs.shape)} became {tuple(output.shape)}"
    assert output.dtype in (torch.float32, torch.bfloat16), f"{name}: in mixed precision it gave {output.dtype}"
    assert bool(torch.isfinite(output).all()), f"{name}: in bfloat16 its output is not finite"
    assert torch.equal(output, again), f"{name}: in bfloat16 two evaluations of one batch differ"
    (gradient,) = torch.autograd.grad(output.float().square().sum(), inputs)
    assert bool(torch.isfinite(gradient).all()), f"{name}: in bfloat16 the gradient of its tokens is not finite"
