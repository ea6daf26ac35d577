"""Encoder that maps token vectors linearly to the backbone's width."""

from __future__ import annotations

from torch import Tensor

from fptkit.encoders.options import LinearOptions
from fptkit.interfaces import Encoder, Vectors
from fptkit.layers import linear_stack


class LinearEncoder(Encoder):
    """The same linear map for every token, optionally with hidden layers.

    Args:
        options: recipe options.
        input: the task's input kind; gives F.
        width: D.

    Source: Lu et al. 2021, section 2.2; orthogonal with gain 1.41 and zero bias as in kzl/universal-computation.
    """

    def __init__(self, options: LinearOptions, *, input: Vectors, width: int) -> None:
        super().__init__()
        self.map = linear_stack(
            (input.width, *options.hidden, width),
            dropout=options.dropout,
            drops_output=True,
            orthogonal_gain=options.orthogonal_gain,
        )

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs (B, T, F) float -> (B, T, D)."""
        encoded: Tensor = self.map(inputs)
        return encoded
