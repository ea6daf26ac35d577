"""The answer kind of tagging: a class at every token, where some tokens may have no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces.answer_kind import IGNORED, AnswerKind, Seen
from fptkit.interfaces.kinds import check_names, class_answers, class_losses
from fptkit.interfaces.metrics import Accuracy, Metric
from fptkit.interfaces.one_tensor import Faults


@dataclass(frozen=True)
class TokenClasses(AnswerKind):
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

    name: ClassVar[str] = "token_classes"
    best_metric: ClassVar[str] = "accuracy"
    dtype: ClassVar[torch.dtype] = torch.int64
    each_token: ClassVar[bool] = True
    has_probabilities: ClassVar[bool] = True

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

    def head_width(self) -> int:
        """See `AnswerKind.head_width`."""
        return self.count

    def target_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """See `AnswerKind.target_shape`."""
        return (size, tokens)

    def prediction_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """See `AnswerKind.prediction_shape`."""
        return (size, tokens, self.count)

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

    def chance(self) -> float:
        """Return one over the number of classes."""
        return 1 / self.count

    def example_losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """See `AnswerKind.example_losses`."""
        return class_losses(predictions, targets)

    def seen(self, predictions: Tensor, targets: Tensor | None = None) -> Seen:
        """See `AnswerKind.seen`."""
        return Seen(self, predictions, targets)

    def in_words(self, predictions: Tensor) -> list[dict[str, Any]]:
        """See `AnswerKind.in_words`: ``{"class": [names or numbers], "probability": [p]}``."""
        return class_answers(predictions, self.names)
