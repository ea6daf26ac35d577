"""Encoder with a multi-layer perceptron for every token."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from fptkit.encoders.options import MlpOptions
from fptkit.interfaces import Encoder, Vectors

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


class MlpEncoder(Encoder):
    """The same multi-layer perceptron for every token, with torch's default initialisation.

    The paper's code uses `LinearEncoder` with ``hidden`` instead: ReLU, orthogonal weights, no norm and no dropout.

    Args:
        options: recipe options.
        input: the task's input kind; gives F.
        width: D.
    """

    def __init__(self, options: MlpOptions, *, input: Vectors, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise((input.width, *options.hidden)):
            layers.append(nn.Linear(width_in, width_out))
            if options.norm:
                layers.append(nn.LayerNorm(width_out))
            layers += [ACTIVATIONS[options.activation](), nn.Dropout(options.dropout)]
        self.map = nn.Sequential(*layers, nn.Linear(options.hidden[-1], width))

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode. Shapes: inputs (B, T, F) float -> (B, T, D)."""
        encoded: Tensor = self.map(inputs)
        return encoded
