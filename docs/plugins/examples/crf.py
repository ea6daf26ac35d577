"""A head for tagging in which the classes of neighbouring tokens depend on each other: a linear-chain CRF.

It gives the logarithm of each token's marginal probabilities, so cross-entropy, metrics and predictions work as always.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fptkit import Head, HeadSpec, Options, TokenClasses, hookimpl


class Crf(Head):
    """Scores of classes by the layers of `Head`, and learned scores of transitions between classes."""

    def __init__(
        self, options: Options, *, output: TokenClasses, width: int, hidden: Sequence[int], dropout: float
    ) -> None:
        super().__init__(output, width, readout="crf", hidden=hidden, dropout=dropout)
        self.transitions = nn.Parameter(torch.zeros(output.count, output.count))

    def forward(self, hidden: Tensor, lengths: Tensor | None) -> Tensor:
        return self.marginals(self.map(hidden), lengths)

    def marginals(self, scores: Tensor, lengths: Tensor | None) -> Tensor:
        """Log marginals by the forward-backward algorithm. Shapes: (B, T, K), (B,) or None -> (B, T, K)."""
        if lengths is None:
            lengths = torch.full((len(scores),), scores.shape[1], device=scores.device)
        real = torch.arange(scores.shape[1], device=scores.device) < lengths[:, None]
        before, after = [scores[:, 0]], [torch.zeros_like(scores[:, 0])]
        for t in range(1, scores.shape[1]):
            message = (before[-1][:, :, None] + self.transitions).logsumexp(1)
            before.append(scores[:, t] + message)
        for t in range(scores.shape[1] - 2, -1, -1):
            ahead = (scores[:, t + 1] + after[-1])[:, None, :]
            message = (self.transitions + ahead).logsumexp(2)
            after.append(torch.where(real[:, t + 1, None], message, 0.0))  # nothing comes after the last real token
        return (torch.stack(before, 1) + torch.stack(after[::-1], 1)).log_softmax(-1)


@hookimpl
def fptkit_heads() -> list[HeadSpec]:
    summary = "classes of neighbouring tokens depend on each other (CRF)"
    return [HeadSpec(name="crf", summary=summary, target=Crf, accepts=("token_classes",))]
