"""The answer kind of real numbers at every token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fptkit.errors import ShapeError
from fptkit.interfaces.answer_kind import AnswerKind, Seen
from fptkit.interfaces.kinds import check_names
from fptkit.interfaces.metrics import MeanSquaredError, Metric
from fptkit.interfaces.one_tensor import Faults


@dataclass(frozen=True)
class TokenValues(AnswerKind):
    """Answer kind: real numbers at every token, such as the flexibility of each residue of a protein.

    The head reads all tokens; targets are (B, T, width) float32. Tokens without known numbers, and padding, have NaN.

    Args:
        width: numbers at each token.
        names: names of the numbers; empty if they have none.

    Raises:
        ShapeError: ``width`` is below 1, or names are given, but not one for each number.

    Example:
        >>> import fptkit, torch
        >>> output = fptkit.TokenValues(1)
        >>> targets = torch.tensor([[[1.0], [float("nan")]]])
        >>> float(output.loss(torch.zeros(1, 2, 1), targets))
        1.0
    """

    name: ClassVar[str] = "token_values"
    best_metric: ClassVar[str] = "mean_squared_error"
    each_token: ClassVar[bool] = True
    meaning: ClassVar[str] = "numbers at every token, in the scale of training"

    width: int = 1
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ShapeError(f"{self}: width must be at least 1")
        check_names("names", self.names, self.width)

    def head_width(self) -> int:
        """See `AnswerKind.head_width`."""
        return self.width

    def target_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """See `AnswerKind.target_shape`."""
        return (size, tokens, self.width)

    def prediction_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """See `AnswerKind.prediction_shape`."""
        return (size, tokens, self.width)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over examples of the mean squared error of their known tokens, a scalar.

        Every example counts the same. One without any known token has a loss of 0.
        """
        return self.example_losses(predictions, targets).nan_to_num(0.0).mean()

    def metrics(self) -> dict[str, Metric]:
        """Return new default metrics, by name."""
        return {"mean_squared_error": MeanSquaredError()}

    def for_metrics(self, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Select the known tokens, one row for each, for metrics. Shapes: -> (N, width), (N, width)."""
        known = ~targets.isnan().any(-1)
        return predictions[known], targets[known]

    def target_faults(self, targets: Tensor) -> Faults:
        """See `AnswerKind.target_faults`."""
        yield from super().target_faults(targets)
        unknown = targets.isnan()
        some = unknown.any(-1) & ~unknown.all(-1)
        yield bool(some.any()), "some numbers of a token are NaN, others are not; give all of a token, or none"

    def example_losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """See `AnswerKind.example_losses`."""
        known = ~targets.isnan()
        # Set before the square: the gradient of a masked NaN would be NaN.
        errors = (predictions - targets.nan_to_num(0.0)).masked_fill(~known, 0.0)
        found = known.flatten(1).sum(1)
        squares = errors.square().flatten(1).sum(1) / found.clamp(min=1)
        return squares.masked_fill(found == 0, float("nan"))

    def seen(self, predictions: Tensor, targets: Tensor | None = None) -> Seen:
        """See `AnswerKind.seen`."""
        return Seen(self, predictions, targets)

    def in_words(self, predictions: Tensor) -> list[dict[str, Any]]:
        """See `AnswerKind.in_words`: ``{name: [value at each token]}``, in the model's scale."""
        names = self.names or tuple(f"value_{number}" for number in range(self.width))
        return [dict(zip(names, rows.T.tolist(), strict=True)) for rows in predictions.double()]
