"""Assessment of any kind of answers."""

from __future__ import annotations

import torch
from torch import Tensor

from fptkit.engine.assessment.classes import ClassAssessment
from fptkit.engine.assessment.numbers import NumberAssessment
from fptkit.engine.assessment.records import Assessed, OtherAssessed
from fptkit.interfaces import AnswerKind, Classes, TokenClasses, TokenValues, Values


class OtherAssessment:
    """Counts answers of a kind that reports do not look into.

    Args:
        output: kind of the answers.
    """

    def __init__(self, output: AnswerKind) -> None:
        self._name, self._examples = output.name, 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count a batch."""
        self._examples += len(targets)

    def result(self) -> OtherAssessed:
        """The counts over all accumulated batches."""
        return OtherAssessed(name=self._name, examples=self._examples)


class Assessment:
    """Accumulates answers of any kind, in the form in which reports see them.

    Args:
        output: kind of the answers, with names.
    """

    def __init__(self, output: AnswerKind) -> None:
        self._output = output
        kind = seen_kind(output)
        self._found: ClassAssessment | NumberAssessment | OtherAssessment
        if isinstance(kind, (Classes, TokenClasses)):
            self._found = ClassAssessment(kind)
        elif isinstance(kind, (Values, TokenValues)):
            self._found = NumberAssessment(kind)
        else:
            self._found = OtherAssessment(output)

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch.

        Args:
            predictions: as the model gives them.
            targets: of the same examples, as in `fptkit.Batch`.
        """
        seen = self._output.seen(predictions, targets)
        if seen is not None and seen.targets is not None:
            predictions, targets = seen.predictions, seen.targets
        self._found.update(predictions, targets)

    def result(self) -> Assessed:
        """The figures over all accumulated batches."""
        return self._found.result()


def seen_kind(output: AnswerKind) -> AnswerKind | None:
    """The kind in whose form reports see answers of a kind; None if they do not."""
    targets = output.unknown_targets(1, output.tokens)
    seen = output.seen(torch.zeros(output.prediction_shape(1, output.tokens)), targets)
    return None if seen is None else seen.kind


def assess(output: AnswerKind, predictions: Tensor, targets: Tensor) -> Assessed:
    """How good predictions are: for classes confusion, per class, by place and calibration; for numbers their errors.

    Args:
        output: kind of the answers, with names.
        predictions: of N examples, as the model gives them, see `AnswerKind.prediction_shape`.
        targets: of the same examples, as in `fptkit.Batch`.
    """
    found = Assessment(output)
    found.update(predictions, targets)
    return found.result()
