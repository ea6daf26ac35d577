"""The answer kind of the next symbol of a sequence (language modelling)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fptkit.interfaces.answer_kind import IGNORED
from fptkit.interfaces.answer_metrics import BitsPerSymbol
from fptkit.interfaces.metrics import Metric
from fptkit.interfaces.one_tensor import Faults
from fptkit.interfaces.token_classes import TokenClasses


@dataclass(frozen=True)
class NextSymbol(TokenClasses):
    """Answer kind: at every token, which symbol comes next. It needs a causal backbone, and is refused with another.

    Targets are (B, T) int64, those of `targets_of`: the inputs moved by one. The last token has no target.

    Args:
        count: K, size of the alphabet.
        names: names of the symbols, in the order of their numbers; empty if they have none.

    Raises:
        ShapeError: ``count`` is below 2, or names are given, but not one for each symbol.

    Example:
        >>> import fptkit, torch
        >>> fptkit.NextSymbol(9).targets_of(torch.tensor([[4, 7, 2, 0]]), torch.tensor([3])).tolist()
        [[7, 2, -100, -100]]
    """

    name: ClassVar[str] = "next_symbol"
    best_metric: ClassVar[str] = "bits_per_symbol"
    needs_causal: ClassVar[bool] = True

    def targets_of(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the targets of a batch of sequences.

        Shapes: inputs (B, T) int64, lengths (B,) or None -> (B, T) int64.
        """
        targets = torch.full_like(inputs, IGNORED)
        targets[:, :-1] = inputs[:, 1:]
        if lengths is not None:
            targets[torch.arange(inputs.shape[1]) >= lengths[:, None] - 1] = IGNORED
        return targets

    def unknown_targets(self, size: int, tokens: int = 0, lengths: Tensor | None = None) -> Tensor:
        """See `AnswerKind.unknown_targets`: the inputs are not known here, so no token has a target."""
        return torch.full(self.target_shape(size, tokens), IGNORED)

    def metrics(self) -> dict[str, Metric]:
        """Return new default metrics, by name."""
        return {**super().metrics(), "bits_per_symbol": BitsPerSymbol()}

    def input_faults(self, inputs: Any, targets: Tensor) -> Faults:
        """Yield the possible fault of targets that are not the next symbols of the inputs."""
        if isinstance(inputs, Tensor) and inputs.ndim == 2:
            known = targets[:, :-1] != IGNORED
            wrong = bool((targets[:, :-1][known] != inputs[:, 1:][known]).any())
            yield wrong, "a target is not the symbol of the token after it; make targets by output.targets_of(inputs)"
        yield bool((targets[:, -1] != IGNORED).any()), "the last token has a target, but no token comes after it"
