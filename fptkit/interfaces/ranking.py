"""The answer kind of orders: which of two or more items comes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces.answer_kind import IGNORED, AnswerKind, Seen
from fptkit.interfaces.answer_metrics import PairAccuracy
from fptkit.interfaces.kinds import Classes, check_names
from fptkit.interfaces.metrics import Metric


@dataclass(frozen=True)
class Ranking(AnswerKind):
    """Answer kind: an order of items that are all in the example; two items are a pair, of which one is preferred.

    The head gives one score for each item. Targets are (B, items) float32, the relevance of each: only its order
    counts. NaN is an item that is missing, or whose relevance is not known. The items can be parts of a
    `fptkit.Mixed` input, each of its own length.

    Args:
        items: number of items of an example, at least 2.
        names: names of the items, such as those of the parts; empty for their numbers.

    Raises:
        ShapeError: ``items`` is below 2, or names are given, but not one for each item.

    Example:
        >>> import fptkit, torch
        >>> pair = fptkit.Ranking(2, names=("first", "second"))
        >>> pair.in_words(torch.tensor([[0.5, 2.0]]))[0]["order"]
        ['second', 'first']
    """

    name: ClassVar[str] = "ranking"
    best_metric: ClassVar[str] = "pair_accuracy"
    meaning: ClassVar[str] = "scores of the items, of which the highest comes first"

    items: int = 2
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.items < 2:
            raise ShapeError(f"{self}: items must be at least 2")
        check_names("names", self.names, self.items)

    def head_width(self) -> int:
        """See `AnswerKind.head_width`."""
        return self.items

    def target_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """See `AnswerKind.target_shape`."""
        return (size, self.items)

    def prediction_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """See `AnswerKind.prediction_shape`."""
        return (size, self.items)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over examples of the mean logistic loss of their pairs that differ in relevance, a scalar.

        Source: Burges et al. 2005, Learning to rank using gradient descent (RankNet).
        """
        return self.example_losses(predictions, targets).nan_to_num(0.0).mean()

    def metrics(self) -> dict[str, Metric]:
        """Return new default metrics, by name."""
        return {"pair_accuracy": PairAccuracy()}

    def chance(self) -> float:
        """Return 0.5, the part of the pairs that guessing puts in the right order."""
        return 0.5

    def example_losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """See `AnswerKind.example_losses`."""
        before = targets[:, :, None] > targets[:, None, :]  # false for NaN
        distance = predictions[:, :, None] - predictions[:, None, :]
        each = (nn.functional.softplus(-distance) * before).sum((1, 2))
        pairs = before.sum((1, 2))
        return (each / pairs.clamp(min=1)).masked_fill(pairs == 0, float("nan"))

    def seen(self, predictions: Tensor, targets: Tensor | None = None) -> Seen:
        """Return which item comes first, as a class; an example with several first items counts as not labelled."""
        kind = Classes(self.items, names=self.names)
        if targets is None:
            return Seen(kind, predictions, None)
        relevance = targets.nan_to_num(float("-inf"))
        best = relevance.max(1)
        tied = (relevance == best.values[:, None]).sum(1) > 1
        # Finite, since reports leave out predictions that are not.
        return Seen(kind, predictions.masked_fill(targets.isnan(), -1e9), best.indices.masked_fill(tied, IGNORED))

    def in_words(self, predictions: Tensor) -> list[dict[str, Any]]:
        """See `AnswerKind.in_words`: ``{"first": item, "order": [items], "scores": [score of each item]}``."""
        names = self.names or tuple(map(str, range(self.items)))
        orders = torch.argsort(predictions, dim=1, descending=True, stable=True).tolist()
        return [
            {"first": names[order[0]], "order": [names[place] for place in order], "scores": scores}
            for order, scores in zip(orders, predictions.tolist(), strict=True)
        ]
