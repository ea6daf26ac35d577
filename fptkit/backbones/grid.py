"""Places of tokens in a square grid, for models whose positions are rows and columns of an image.

fptkit's backbones get a sequence of tokens, not an image. Token i is put into row ``i // side`` and column ``i % side``
of the smallest square grid that holds the task's longest example. For the patches of a square image this is the image's
own grid. A line would put all tokens into one row, and half of what such a model knows about positions would not be
used. The side does not depend on a batch, so padding and shorter examples change no place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fptkit.backbones.options import PositionOptions
from fptkit.errors import ShapeError


def square_side(tokens: int) -> int:
    """Return the side of the smallest square grid of at least ``tokens`` tokens."""
    return math.isqrt(max(tokens, 1) - 1) + 1


def places(tokens: int, side: int, device: torch.device) -> Tensor:
    """Return row and column of each token.

    Shapes: -> (tokens, 2), integers.
    """
    index = torch.arange(tokens, device=device)
    return torch.stack((index // side, index % side), dim=1)


def distance_rows(tokens: int, side: int, window: tuple[int, int], device: torch.device) -> Tensor:
    """Return the row of each pair of tokens in a table of distances.

    Args:
        tokens: T, number of tokens.
        side: side of the grid that they are put into.
        window: h and w; row ``(dy + h - 1) * (2 * w - 1) + dx + w - 1`` of the table is for the distance (dy, dx).
        device: device of the result.

    Shapes: -> (T, T), integers.
    """
    height, width = window
    place = places(tokens, side, device)
    distance = place[:, None] - place[None]  # (T, T, 2)
    return (distance[..., 0] + height - 1) * (2 * width - 1) + distance[..., 1] + width - 1


class GridBias(nn.Module):
    """A table of biases that attention adds to its scores, by the distance of two tokens in rows and columns.

    The rows of the class token are dropped with it.

    Args:
        table: (R, H), biases of H heads, see `distance_rows`; up to three rows of the class token follow.
        window: h and w, rows and columns of the grid that the table was trained for.

    Source: Bao et al. 2022 (BEiT); huggingface/transformers, ``modeling_beit.py``; timm, ``layers/pos_embed_rel.py``.
    """

    def __init__(self, table: nn.Parameter, window: tuple[int, int]) -> None:
        super().__init__()
        self.table = table
        self.window = window
        self.side: int | None = None

    def forward(self, tokens: int) -> Tensor:
        """Shapes: -> (1, H, tokens, tokens)."""
        rows = distance_rows(tokens, self.side or square_side(tokens), self.window, self.table.device)
        return self.table[rows].permute(2, 0, 1)[None]

    def fit(self, tokens: int, options: PositionOptions) -> None:
        """Cut the table to the distances that occur in the task's grid, or stretch it.

        Args:
            tokens: T, tokens of the task's longest example.
            options: the recipe's options; ``extend: interpolate`` stretches a table that is too small.

        Raises:
            ShapeError: the table is too small and ``extend`` is not ``interpolate``.
        """
        side = square_side(tokens)
        height, width = self.window
        kept = self.table.detach()[: (2 * height - 1) * (2 * width - 1)].unflatten(0, (2 * height - 1, 2 * width - 1))
        if side <= min(height, width):
            kept = kept[height - side : height + side - 1, width - side : width + side - 1]
        elif options.extend == "interpolate":
            size = (2 * side - 1, 2 * side - 1)
            kept = nn.functional.interpolate(kept.permute(2, 0, 1)[None], size=size, mode="bilinear")[0].permute(
                1, 2, 0
            )
        else:
            raise ShapeError(
                f"the task has up to {tokens} tokens, a grid of {side} x {side}, but the backbone's table of distances "
                f"is for {height} x {width}; shorten the task (its max_length, or longer patches), or stretch the "
                "table: backbone.positions.extend: interpolate"
            )
        self.table = nn.Parameter(kept.flatten(0, 1).clone())
        self.window, self.side = (side, side), side
