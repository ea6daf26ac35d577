"""The answer kind of tagging: a class at every token, where some tokens may have no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces.kinds import Classes, Values, check_names
from fptkit.interfaces.metrics import Accuracy, Metric
from fptkit.interfaces.one_tensor import Faults

IGNORED = -100
"""Target of padding and of tokens without a label: they count neither in the loss nor in metrics."""


@dataclass(frozen=True)
class TokenClasses:
    """Answer kind: a class at every token (tagging). The head reads all tokens; targets are (B, T).

    Tokens without a label, and padding, have the target `IGNORED`.

    Args:
        count: K, number of classes.
        names: names of the K classes, in the order of their numbers; empty if they have none.

    Raises:
        ShapeError: ``count`` is below 2, or names are given, but not one for each class.

    Example:
        >>> import fptkit, torch
        >>> output = fptkit.TokenClasses(2, names=("O", "GENE"))
        >>> targets = torch.tensor([[0, 1, fptkit.IGNORED]])
        >>> tuple(output.for_metrics(torch.zeros(1, 3, 2), targets)[0].shape)
        (2, 2)
    """

    best_metric: ClassVar[str] = "accuracy"
    """Metric that chooses the best step by default."""

    tokens: ClassVar[int] = 1
    """Tokens that an example must have at least."""

    count: int
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ShapeError(f"{self}: count must be at least 2")
        check_names("names", self.names, self.count)

    @property
    def width(self) -> int:
        """Numbers that the output layer gives at each token."""
        return self.count

    def arrange(self, raw: Tensor) -> Tensor:
        """Return the head's output, which has the form of logits. Shapes: (B, T, K) -> (B, T, K)."""
        return raw

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over examples of the mean cross-entropy of their labelled tokens, a scalar.

        Every example counts the same, so that the gradients of micro-batches add up to that of the batch. One without
        any label has a loss of 0.
        """
        each = nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        ).view_as(targets)
        labelled = (targets != IGNORED).sum(1).clamp(min=1)
        return (each.sum(1) / labelled).mean()

    def metrics(self) -> dict[str, Metric]:
        """Return new default metrics, by name."""
        return {"accuracy": Accuracy()}

    def for_metrics(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Select the labelled tokens, one row for each, for metrics. Shapes: -> (N, K), (N,)."""
        labelled = targets != IGNORED
        return logits[labelled], targets[labelled]

    def target_faults(self, targets: Tensor) -> Faults:
        """Yield the possible faults of targets of the right shape."""
        yield targets.dtype != torch.int64, f"targets are {targets.dtype}, expected torch.int64"
        labelled = targets[targets != IGNORED]
        if labelled.numel():
            least, largest = map(int, labelled.aminmax())
            yield least < 0, f"a target is negative and not fptkit.IGNORED: {least}"
            yield largest >= self.count, f"a target is not below {self.count}: {largest}"

    def padding_faults(self, targets: Tensor, lengths: Tensor | None) -> Faults:
        """Yield the possible fault of targets at padding. Shapes: targets (B, T), lengths (B,) or None."""
        if lengths is not None:
            padding = torch.arange(targets.shape[1], device=targets.device) >= lengths[:, None]
            yield bool((targets[padding] != IGNORED).any()), "padding has a target; set it to fptkit.IGNORED"


OutputKind: TypeAlias = Classes | Values | TokenClasses
"""All kinds of answers."""


def target_shape(output: OutputKind, size: int, tokens: int) -> tuple[int, ...]:
    """The shape of the targets of a batch.

    Args:
        output: kind of the answers.
        size: B, examples of the batch.
        tokens: T, tokens of each, including padding.
    """
    return (size, tokens) if isinstance(output, TokenClasses) else output.target_shape(size)


def prediction_shape(output: OutputKind, size: int, tokens: int) -> tuple[int, ...]:
    """The shape of the predictions for a batch; arguments as for `target_shape`."""
    return (size, tokens, output.count) if isinstance(output, TokenClasses) else output.prediction_shape(size)
