"""Encoder of features that differ in meaning: each cell of a grid has a linear map of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fptkit.encoders.options import FeatureOptions
from fptkit.interfaces import Encoder, Grid


class FeatureTokens(Encoder):
    """A linear map for each cell: its token is ``weight[cell] . numbers + bias[cell]``.

    The bias tells the backbone which cell a token is, since a pretrained sequence model reads them in an order.

    Args:
        options: recipe options.
        input: the task's input kind; gives H, W and C. A table is a grid of as many rows as columns, and width 1.
        width: D.

    Source: Gorishniy et al. 2021 (FT-Transformer), section 3.3. Differences: no class token, since the head pools; an
    orthogonal map with the gain of ``linear``, and normal biases of the same norm.
    """

    def __init__(self, options: FeatureOptions, *, input: Grid, width: int) -> None:
        super().__init__()
        cells = input.max_tokens
        self.weight = nn.Parameter(torch.empty(cells, input.channels, width))
        self.bias = nn.Parameter(torch.empty(cells, width))
        for cell in self.weight:
            nn.init.orthogonal_(cell, gain=options.orthogonal_gain)
        nn.init.normal_(self.bias, std=options.orthogonal_gain / math.sqrt(width))

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs (B, H, W, C) float -> (B, H * W, D), row by row."""
        return torch.einsum("btc,tcd->btd", inputs.flatten(1, 2), self.weight) + self.bias
