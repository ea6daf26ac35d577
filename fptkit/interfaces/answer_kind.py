"""The base of all kinds of answers: what a kind must say, and what follows from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from fptkit.errors import ShapeError
from fptkit.interfaces.metrics import Metric
from fptkit.interfaces.one_tensor import Faults

IGNORED = -100
"""Target of padding, and of answers that are not known: they count neither in the loss nor in metrics. Targets that are
real numbers have NaN there."""


class Seen(NamedTuple):
    """Answers in the form of a kind that reports and tables know.

    Args:
        kind: `fptkit.Classes`, `fptkit.Values`, or one of their kinds for every token.
        predictions: in the form of that kind.
        targets: in the form of that kind; None if none were given.

    Example:
        >>> import fptkit, torch
        >>> seen = fptkit.Labels(2, names=("a", "b")).seen(torch.zeros(3, 2))
        >>> seen.kind.answers, tuple(seen.predictions.shape)
        (('a', 'b'), (3, 1, 2, 2))
    """

    kind: AnswerKind
    predictions: Tensor
    targets: Tensor | None


class AnswerKind(ABC):
    """Base class of the kinds of answers. A task sets one as its ``output``; a plugin may bring a kind of its own.

    A subclass is a frozen dataclass of plain fields, so that a run folder can describe it, and has a ``name`` that no
    other kind has. It must say four things: `head_width`, `target_shape`, `prediction_shape` and `loss`. Everything
    else has a default.

    Attributes:
        name: its name in run folders.
        best_metric: metric that chooses the best step by default; ``loss`` if there is none.
        dtype: of the targets, ``torch.int64`` or ``torch.float32``.
        tokens: R, tokens read out: the last R real tokens. Every example must have as many.
        each_token: whether every token has an answer; targets are then (B, T, ...), padded with ignored ones.
        needs_causal: whether the answer at a token may only be computed from the tokens before it.
        has_probabilities: whether predictions are logits of something that `seen` gives as classes.
        meaning: what the predictions are, in a few words, for the description of an export.
        names: names of classes, labels, numbers or items; empty if they have none.

    Example:
        >>> from dataclasses import dataclass
        >>> import fptkit, torch
        >>> @dataclass(frozen=True)
        ... class Counts(fptkit.AnswerKind):
        ...     name = "counts"
        ...     def head_width(self):
        ...         return 1
        ...     def target_shape(self, size, tokens=0):
        ...         return (size, 1)
        ...     prediction_shape = target_shape
        ...     def loss(self, predictions, targets):
        ...         return torch.nn.functional.poisson_nll_loss(predictions, targets)
        >>> Counts().target_shape(8), Counts().best_metric
        ((8, 1), 'loss')
    """

    name: ClassVar[str] = ""
    best_metric: ClassVar[str] = "loss"
    dtype: ClassVar[torch.dtype] = torch.float32
    each_token: ClassVar[bool] = False
    needs_causal: ClassVar[bool] = False
    has_probabilities: ClassVar[bool] = False
    meaning: ClassVar[str] = "predictions"

    tokens: int = 1
    names: tuple[str, ...] = ()

    @abstractmethod
    def head_width(self) -> int:
        """Return how many numbers the output layer gives at each token that is read."""

    @abstractmethod
    def target_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """Return the shape of the targets of a batch.

        Args:
            size: B, examples of the batch.
            tokens: T, tokens of each, including padding; only kinds with an answer at each token need it.
        """

    @abstractmethod
    def prediction_shape(self, size: int, tokens: int = 0) -> tuple[int, ...]:
        """Return the shape of the predictions for a batch; arguments as for `target_shape`."""

    @abstractmethod
    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over examples, a scalar.

        It must be a mean over examples, so that the gradients of micro-batches add up to that of the batch. Ignored
        targets do not count.
        """

    def arrange(self, raw: Tensor) -> Tensor:
        """Bring the head's output into the form of predictions. Shapes: (B, R, width) -> `prediction_shape`."""
        return raw if self.each_token or self.tokens > 1 else raw.squeeze(1)

    def readout(self, *, causal: bool) -> str:
        """Return the read-out of ``head.readout: auto``: ``last``, ``last_k``, ``mean`` or ``all``.

        Args:
            causal: whether the backbone is causal.
        """
        if self.each_token:
            return "all"
        if self.tokens > 1:
            return "last_k"
        return "last" if causal else "mean"

    def metrics(self) -> dict[str, Metric]:
        """Return new default metrics, by name; by default none beside the loss."""
        return {}

    def for_metrics(self, predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions and targets in the form for metrics, without ignored ones; by default as they are."""
        return predictions, targets

    def chance(self) -> float | None:
        """Return the accuracy of guessing; None if the answers have no accuracy."""
        return None

    def ignored(self, targets: Tensor) -> Tensor:
        """Return which targets do not count: `IGNORED`, or NaN. Shapes: those of the targets, bool."""
        return targets.isnan() if targets.is_floating_point() else targets == IGNORED

    def collate(self, targets: Sequence[Tensor]) -> Tensor:
        """Make the targets of a batch from those of its examples; answers at each token are padded with ignored ones.

        Args:
            targets: one tensor for each example, without the dimension of the batch.

        Raises:
            ShapeError: the examples do not fit together.
        """
        try:
            if self.each_token:
                return nn.utils.rnn.pad_sequence(list(targets), batch_first=True, padding_value=self._nothing())
            return torch.stack(list(targets))
        except RuntimeError as err:
            raise ShapeError(f"{self.name}: targets of these examples do not fit together: {err}") from err

    def unknown_targets(self, size: int, tokens: int = 0, lengths: Tensor | None = None) -> Tensor:
        """Return targets of examples without labels: zeros, and ignored ones at padding.

        Args:
            size: B, examples.
            tokens: T, tokens of each, including padding.
            lengths: (B,) real tokens of each; None: all are real.
        """
        targets = torch.zeros(self.target_shape(size, tokens), dtype=self.dtype)
        if self.each_token and lengths is not None:
            targets[torch.arange(tokens) >= lengths[:, None]] = self._nothing()
        return targets

    def _nothing(self) -> float:
        return float("nan") if self.dtype.is_floating_point else IGNORED

    def target_faults(self, targets: Tensor) -> Faults:
        """Yield the possible faults of targets of the right shape: pairs of condition and message."""
        yield targets.dtype != self.dtype, f"targets are {targets.dtype}, expected {self.dtype}"
        yield bool(targets.isinf().any()), "targets have infinity"

    def padding_faults(self, targets: Tensor, lengths: Tensor | None) -> Faults:
        """Yield the possible fault of answers at padding. Shapes: targets (B, T, ...), lengths (B,) or None."""
        if self.each_token and lengths is not None:
            padding = torch.arange(targets.shape[1], device=targets.device) >= lengths[:, None]
            what = "NaN" if self.dtype.is_floating_point else "fptkit.IGNORED"
            yield not bool(self.ignored(targets[padding]).all()), f"padding has a target; set it to {what}"

    def input_faults(self, inputs: Any, targets: Tensor) -> Faults:
        """Yield the possible faults of targets beside their inputs; by default none."""
        yield from ()

    def example_losses(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, NaN for one without any known answer. Shapes: -> (B,)."""
        each = [self.loss(predictions[row : row + 1], targets[row : row + 1]) for row in range(len(targets))]
        return torch.stack(each).where(~self.ignored(targets).reshape(len(targets), -1).all(1), float("nan"))

    def seen(self, predictions: Tensor, targets: Tensor | None = None) -> Seen | None:
        """Return the answers as a kind that reports know; None (the default): reports do not look into them.

        Args:
            predictions: of B examples.
            targets: of the same examples, if they are known.
        """
        return None

    def in_words(self, predictions: Tensor) -> list[dict[str, Any]]:
        """Return predictions in words, one mapping for each example.

        By default those of the classes that `seen` gives, if there are probabilities, else ``{"value": [numbers]}``.

        Args:
            predictions: of N examples, as the head gives them.
        """
        seen = self.seen(predictions) if self.has_probabilities else None
        if seen is not None and seen.kind is not self:
            return seen.kind.in_words(seen.predictions)
        return [{"value": row} for row in predictions.tolist()]


OutputKind: TypeAlias = AnswerKind
"""The former name of `AnswerKind`; plugins may use either."""


def target_shape(output: AnswerKind, size: int, tokens: int) -> tuple[int, ...]:
    """See `AnswerKind.target_shape`."""
    return output.target_shape(size, tokens)


def prediction_shape(output: AnswerKind, size: int, tokens: int) -> tuple[int, ...]:
    """See `AnswerKind.prediction_shape`."""
    return output.prediction_shape(size, tokens)
