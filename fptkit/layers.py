"""Layers that input and output share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def linear_stack(widths: Sequence[int], *, dropout: float = 0.0, orthogonal_gain: float | None = None) -> nn.Sequential:
    """Linear maps through ``widths``, with ReLU and dropout between them.

    Args:
        widths: numbers per token, first and last included.
        dropout: probability of dropping a hidden number.
        orthogonal_gain: weights are orthogonal with this gain and biases zero; None leaves torch's own draw.

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
    return nn.Sequential(*layers)
