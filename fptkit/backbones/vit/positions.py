"""Positions that timm's models give to attention: rotary angles and biases by distance, for tokens in a square grid.

See `fptkit.backbones.grid` for the place of a token in the grid.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fptkit.backbones.grid import GridBias, distance_rows, square_side


class DistanceMlp(nn.Module):
    """Biases that attention adds to its scores, computed from the distance of two tokens in rows and columns.

    Args:
        source: timm's ``RelPosMlp``.

    Source: timm, ``layers/pos_embed_rel.py``; Liu et al. 2022 (Swin V2), section 3.3, for the mode ``swin``.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.mlp: nn.Module = source.mlp
        self.swin: bool = source.mode == "swin"
        trained = source.pretrained_window_size if source.pretrained_window_size[0] > 0 else source.window_size
        self.trained_side = int(max(trained))
        self.side: int | None = None

    def forward(self, tokens: int) -> Tensor:
        """Shapes: -> (1, H, tokens, tokens)."""
        side = self.side or square_side(tokens)
        device = next(self.mlp.parameters()).device
        line = torch.arange(1 - side, side, device=device, dtype=torch.float32)
        distances = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1).flatten(0, 1)
        biases = self.mlp(self._logarithmic(distances))
        if self.swin:
            biases = 16 * torch.sigmoid(biases)
        rows = distance_rows(tokens, side, (side, side), device)
        moved: Tensor = biases[rows].permute(2, 0, 1)[None]
        return moved

    def _logarithmic(self, distances: Tensor) -> Tensor:
        if not self.swin:
            return distances.sign() * torch.log(1.0 + distances.abs())
        scaled = 8 * distances / max(self.trained_side - 1, 1)
        return scaled.sign() * torch.log2(1.0 + scaled.abs()) / math.log2(8)


def grid_biases(source: Any) -> GridBias | DistanceMlp:
    """The biases of a module of timm, for tokens without class token.

    Args:
        source: ``RelPosMlp``, ``RelPosBias``, or another module with a ``relative_position_bias_table``.
    """
    if hasattr(source, "mlp"):
        return DistanceMlp(source)
    return GridBias(source.relative_position_bias_table, tuple(source.window_size))


def take_biases(block: Any, path: str) -> GridBias | DistanceMlp | None:
    """Take the biases out of a block, so that they can be passed to it with a mask; None if it has none.

    Args:
        block: block of timm; changed.
        path: of a module or of a table with its ``window_size`` beside it.
    """
    owner_path, _, name = path.rpartition(".")
    owner = block.get_submodule(owner_path)
    own = getattr(owner, name)
    if own is None:
        return None
    biases = grid_biases(owner if isinstance(own, nn.Parameter) else own)
    setattr(owner, name, None)
    return biases


def rotary_angles(rope: Any, tokens: int, side: int) -> Tensor:
    """Rotary angles of tokens in a grid: (tokens, 2 * D_head), or (blocks, heads, tokens, 2 * D_head) if mixed.

    Args:
        rope: timm's module; it does not move positions at random, even in training.
        tokens: T, number of tokens.
        side: side of the grid.
    """
    rope.train(False)
    angles: Tensor = rope.get_embed(shape=(side, side))[..., :tokens, :]
    return angles
