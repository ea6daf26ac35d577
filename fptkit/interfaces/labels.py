"""The answer kind of several labels at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces.answer_kind import IGNORED, AnswerKind, Seen
from fptkit.interfaces.answer_metrics import LabelsF1
from fptkit.interfaces.kinds import Classes, check_names, class_losses
from fptkit.interfaces.metrics import Accuracy, Metric
from fptkit.interfaces.one_tensor import Faults


@dataclass(frozen=True)
class Labels(AnswerKind):
    """Answer kind: any number of several labels at once, such as the functions of a protein.

    The head gives one logit for each label. Targets are (B, L) int64: 1 for a label that is present, 0 for one that is
    absent, `IGNORED` for one that is not known.

    Args:
        count: L, number of labels.
        names: names of the labels; empty if they have none.

    Raises:
        ShapeError: ``count`` is below 1, or names are given, but not one for each label.

    Example:
        >>> import fptkit, torch
        >>> output = fptkit.Labels(3, names=("membrane", "nucleus", "secreted"))
        >>> output.in_words(torch.tensor([[2.0, -1.0, 3.0]]))[0]["labels"]
        ['membrane', 'secreted']
    """

    name: ClassVar[str] = "labels"
    best_metric: ClassVar[str] = "f1"
    dtype: ClassVar[torch.dtype] = torch.int64
    has_probabilities: ClassVar[bool] = True
    meaning: ClassVar[str] = "a sigmoid gives the probability of each label"

    count: int
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ShapeError(f"{self}: count must be at least 1")
        check_names("names", self.names, self.count)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, ``label_0`` and so on if they have none."""
        return self.names or tuple(f"label_{number}" for number in range(self.count))

    def head_width(self) -> int:
        """See `AnswerKind.head_width`."""
        return self.count

    def target_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """See `AnswerKind.target_shape`."""
        return (size, self.count)

    def prediction_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """See `AnswerKind.prediction_shape`: one logit for each label."""
        return (size, self.count)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over examples of the mean binary cross-entropy of their known labels, a scalar."""
        known = targets != IGNORED
        present = targets.clamp(min=0).to(predictions.dtype)
        each = nn.functional.binary_cross_entropy_with_logits(predictions, present, reduction="none") * known
        return (each.sum(1) / known.sum(1).clamp(min=1)).mean()

    def metrics(self) -> dict[str, Metric]:
        """Return new default metrics: accuracy over all labels, and their micro-averaged F1."""
        return {"accuracy": Accuracy(), "f1": LabelsF1()}

    def for_metrics(self, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return one row for each known label, with logits of absent and present. Shapes: -> (N, 2), (N,)."""
        known = targets != IGNORED
        return _of_two(predictions[known]), targets[known]

    def chance(self) -> float:
        """Return 0.5, the accuracy of guessing each label."""
        return 0.5

    def target_faults(self, targets: Tensor) -> Faults:
        """See `AnswerKind.target_faults`."""
        yield targets.dtype != torch.int64, f"targets are {targets.dtype}, expected torch.int64"
        strange = targets[(targets != 0) & (targets != 1) & (targets != IGNORED)]
        yield len(strange) > 0, f"a target is {[*strange.tolist(), 0][0]}, expected 0, 1 or fptkit.IGNORED"

    def example_losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """See `AnswerKind.example_losses`."""
        return class_losses(_of_two(predictions), targets)

    def seen(self, predictions: Tensor, targets: Tensor | None = None) -> Seen:
        """Return each label as an answer of the two classes ``no`` and ``yes``."""
        kind = Classes(2, per_token=self.count, names=("no", "yes"), answers=self.label_names)
        size = len(predictions)
        found = _of_two(predictions).reshape(kind.prediction_shape(size))
        return Seen(kind, found, None if targets is None else targets.reshape(kind.target_shape(size)))

    def in_words(self, predictions: Tensor) -> list[dict[str, Any]]:
        """See `AnswerKind.in_words`: ``{"labels": [names], "probabilities": {name: p}}``."""
        return [
            {
                "labels": [name for name, chance in zip(self.label_names, row, strict=True) if chance > 0.5],
                "probabilities": dict(zip(self.label_names, row, strict=True)),
            }
            for row in predictions.double().sigmoid().tolist()
        ]


def _of_two(logits: Tensor) -> Tensor:
    """Logits of the classes absent and present, whose softmax is the sigmoid. Shapes: (...) -> (..., 2)."""
    return torch.stack([torch.zeros_like(logits), logits], -1)
