"""Encoder of discrete symbols: an embedding of the backbone's width."""

from __future__ import annotations

from torch import Tensor, nn

from fptkit.encoders.options import SymbolOptions
from fptkit.interfaces import Encoder, Symbols
from fptkit.layers import linear_stack


class SymbolEncoder(Encoder):
    """A learned embedding of each symbol, optionally followed by hidden layers.

    Args:
        options: recipe options.
        input: the task's input kind; gives the alphabet's size.
        width: D.

    Source: Lu et al. 2021, section 2.2; torch's default initialisation (normal, standard deviation 1) as in
    kzl/universal-computation.
    """

    def __init__(self, options: SymbolOptions, *, input: Symbols, width: int) -> None:
        super().__init__()
        first = options.hidden[0] if options.hidden else width
        # No padding_idx: padding is never read, so its row needs no special treatment.
        self.table = nn.Embedding(input.count, first)
        self.map = linear_stack((first, *options.hidden[1:], width)) if options.hidden else nn.Identity()

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs (B, T) integer -> (B, T, D)."""
        encoded: Tensor = self.map(self.table(inputs))
        return encoded
