"""From the backbone's token vectors to the task's answer: which tokens are read, and the output layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces import Classes, Values
from fptkit.layers import linear_stack

Readout = Literal["last", "last_k", "mean"]


def default_readout(output: Classes | Values, *, causal: bool) -> Readout:
    """The last tokens where the task asks for several, else the last one of a causal backbone, the mean of another."""
    if output.tokens > 1:
        return "last_k"
    return "last" if causal else "mean"


class Head(nn.Module):
    """Read-out at real tokens and a linear output layer, optionally with hidden layers.

    Args:
        output: kind of the task's answer.
        width: D.
        readout: ``last`` reads the last real token, ``last_k`` the last R real ones, ``mean`` averages all real ones.
        hidden: widths of layers before the output layer.
        dropout: probability of dropping a hidden number.

    Raises:
        ShapeError: the read-out gives another number of tokens than the task asks for.
    """

    def __init__(
        self,
        output: Classes | Values,
        width: int,
        *,
        readout: Readout,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if output.tokens > 1 and readout != "last_k":
            raise ShapeError(
                f"head.readout '{readout}' gives one token, but the task reads {output.tokens}; use last_k or auto"
            )
        self.output = output
        self.readout = readout
        self.map = linear_stack((width, *hidden, output.width), dropout=dropout)

    def positions(self, inputs: Tensor, lengths: Tensor | None) -> Tensor | None:
        """Which tokens are read.

        Shapes: inputs (B, T, ...), lengths (B,) or None -> (B, R) positions, or None where all are needed.
        """
        if self.readout == "mean":
            return None
        if lengths is None:
            lengths = torch.full((len(inputs),), inputs.shape[1], device=inputs.device)
        offsets = torch.arange(-self.output.tokens, 0, device=inputs.device)
        return (lengths[:, None] + offsets).clamp(min=0)

    def forward(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """Shapes: hidden (B, R, D), or (B, T, D) for ``mean`` -> logits as the output's ``arrange`` says."""
        return self.answer(self.read(hidden, lengths))

    def read(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """What the layers get. Nothing in here trains.

        Shapes: hidden as in `forward` -> (B, R, D)."""
        return _mean_of_real(hidden, lengths) if self.readout == "mean" else hidden

    def answer(self, read: Tensor) -> Tensor:
        """Shapes: read (B, R, D) -> logits as the output's ``arrange`` says."""
        return self.output.arrange(self.map(read))


def _mean_of_real(hidden: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, D) -> (B, 1, D)."""
    if lengths is None:
        return hidden.mean(1, keepdim=True)
    real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    return (hidden * real[:, :, None]).sum(1, keepdim=True) / lengths[:, None, None]
