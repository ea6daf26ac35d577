"""Layers shared by encoders and head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def linear_stack(
    widths: Sequence[int], *, dropout: float = 0.0, drops_output: bool = False, orthogonal_gain: float | None = None
) -> nn.Sequential:
    """Build a stack of linear maps with ReLU and dropout between them.

    Shapes: the stack maps (..., widths[0]) -> (..., widths[-1]).

    Args:
        widths: numbers per token before the first map and after each map.
        dropout: dropout probability between maps.
        drops_output: dropout after the last map, too.
        orthogonal_gain: orthogonal weights with this gain and zero biases; None: torch's initialisation.

    Source: kzl/universal-computation, ``models/fpt.py`` (``in_layer_sizes``, ``out_layer_sizes``).
    """
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        if layers:
            layers += [nn.ReLU(), nn.Dropout(dropout)]
        linear = nn.Linear(width_in, width_out)
        if orthogonal_gain is not None:
            nn.init.orthogonal_(linear.weight, gain=orthogonal_gain)
            nn.init.zeros_(linear.bias)
        layers.append(linear)
    if drops_output and dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)
