"""fptkit's own heads by name; their read-outs are those of `fptkit.model.Head`, and attention pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from fptkit.engine.training.options import AttentionOptions
from fptkit.errors import ShapeError
from fptkit.interfaces import OutputKind
from fptkit.model import Head, Readout
from fptkit.options import Options


class _Builder:
    """Builds a `Head` with one of its own read-outs."""

    def __init__(self, readout: Readout) -> None:
        self._readout = readout

    def __call__(
        self, options: Options, *, output: OutputKind, width: int, hidden: Sequence[int], dropout: float
    ) -> Head:
        return Head(output, width, readout=self._readout, hidden=hidden, dropout=dropout)


last, last_k, mean, first, all = (_Builder(readout) for readout in get_args(Readout))


class AttentionHead(Head):
    """Means of the real tokens with learned weights, one after the other in one vector.

    The weights are a softmax over the tokens of a linear map, which begins at zero: at first it is the plain mean.

    Source: Lin et al. 2017, "A structured self-attentive sentence embedding", section 2.1, without the layer between.

    Raises:
        ShapeError: the task reads several tokens out.
    """

    def __init__(
        self, options: AttentionOptions, *, output: OutputKind, width: int, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__(output, width * options.queries, readout="attention", hidden=hidden, dropout=dropout)
        if output.tokens > 1:
            raise ShapeError(
                f"head 'attention' returns one vector, but the task reads {output.tokens} tokens; use last_k or auto"
            )
        self.scores = nn.Linear(width, options.queries, bias=False)
        nn.init.zeros_(self.scores.weight)
        if options.queries > 1:  # equal queries would get equal gradients and stay equal
            nn.init.normal_(self.scores.weight, std=width**-0.5)

    def read(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        """Pool the tokens. Shapes: hidden (B, T, D), lengths (B,) or None -> (B, 1, queries * D)."""
        scores = self.scores(hidden)
        if lengths is not None:
            padding = torch.arange(hidden.shape[1], device=hidden.device) >= lengths[:, None]
            scores = scores.masked_fill(padding[:, :, None], -torch.inf)
        pooled = scores.softmax(1).mT @ hidden  # (B, queries, D)
        return pooled.flatten(1)[:, None]
