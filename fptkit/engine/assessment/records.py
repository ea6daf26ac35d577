"""Records of how good answers were over a split, as they are saved and read back. Light: no torch, no NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Bounds = tuple[float, float]
"""Lower and upper end of an interval."""

CONFIDENCE = 0.95
"""Confidence of all intervals of an assessment."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassFigures(_Record):
    """The answers of one class.

    Args:
        support: answers whose true class it is.
        predicted: answers for which it was predicted.
        right: answers of which both are true.
    """

    support: int
    predicted: int
    right: int

    @property
    def precision(self) -> float | None:
        """Part of its predictions that are right; None if it was never predicted."""
        return self.right / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """Part of its answers that were found; None if it does not occur."""
        return self.right / self.support if self.support else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall, 0 if none is right; None if it neither occurs nor was predicted."""
        known = self.support + self.predicted
        return 2 * self.right / known if known else None


class Place(_Record):
    """The answers at one place of an example, or at a range of places.

    Args:
        name: of the place: the name of an answer, a position such as ``5``, or a range such as ``1–8``.
        answers: their number.
        right: how many are right.
        classes: figures of each class at this place, if there are two classes; else empty.
    """

    name: str
    answers: int
    right: int
    classes: tuple[ClassFigures, ...] = ()


class Bin(_Record):
    """The answers whose confidence, the probability of the predicted class, is in one bin.

    Args:
        low: lower end, not included except for 0.
        high: upper end, included.
        answers: their number.
        confidence: mean confidence, 0 without answers.
        accuracy: part of them that is right, 0 without answers.
    """

    low: float
    high: float
    answers: int
    confidence: float
    accuracy: float


class ClassesAssessed(_Record):
    """Answers that are classes.

    Args:
        names: of the classes, in the order of their numbers.
        examples: examples with at least one answer.
        answers: labelled answers, without those left out.
        right: how many of them are right.
        left_out: answers without a finite prediction.
        interval: of the accuracy, at `CONFIDENCE`; None without answers. Examples count as independent, the answers
            of one example do not.
        classes: figures of each class, in the order of their numbers.
        confused: triples (true class, predicted class, answers) of wrong answers, the most frequent first.
        unlisted: wrong answers in pairs that are not in ``confused``, which has a limited length.
        calibration: bins of equal width; empty if there are no answers.
        places: answers by place, if an example has several; else empty.
        place: what a place is: ``label``, ``position``; empty without places.
        top5: answers whose true class is among the five most probable ones; None for fewer than ten classes.
    """

    kind: Literal["classes"] = "classes"
    names: tuple[str, ...]
    examples: int
    answers: int
    right: int
    left_out: int = 0
    interval: Bounds | None
    classes: tuple[ClassFigures, ...]
    confused: tuple[tuple[int, int, int], ...]
    unlisted: int
    calibration: tuple[Bin, ...]
    places: tuple[Place, ...] = ()
    place: str = ""
    top5: int | None = None

    @property
    def accuracy(self) -> float | None:
        """Part of the answers that is right; None without answers."""
        return self.right / self.answers if self.answers else None

    @property
    def matrix(self) -> list[list[int]] | None:
        """The confusion matrix, rows are true classes; None if some pairs are not listed."""
        if self.unlisted:
            return None
        found = [[0] * len(self.classes) for _ in self.classes]
        for number, figures in enumerate(self.classes):
            found[number][number] = figures.right
        for true, predicted, count in self.confused:
            found[true][predicted] = count
        return found

    @property
    def macro_f1(self) -> float | None:
        """Mean F1 over the classes that occur or were predicted; None without answers."""
        return _mean([one.f1 for one in self.classes])

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean recall over the classes that occur; None without answers."""
        return _mean([one.recall for one in self.classes])

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error: mean distance of confidence and accuracy of the bins, weighted by their answers.

        Source: Guo et al. 2017, On calibration of modern neural networks, eq. 3.
        """
        answers = sum(one.answers for one in self.calibration)
        distances = (one.answers * abs(one.confidence - one.accuracy) for one in self.calibration)
        return sum(distances) / answers if answers else None


class NumberFigures(_Record):
    """The answers for one of the numbers that a model predicts.

    Args:
        name: of the number.
        answers: how many of them.
        bias: mean of predicted minus true.
        absolute: mean absolute error.
        squared: mean squared error.
        mean: of the true values.
        deviation: standard deviation of the true values, with denominator N.
    """

    name: str
    answers: int
    bias: float
    absolute: float
    squared: float
    mean: float
    deviation: float

    @property
    def root(self) -> float:
        """Root of the mean squared error."""
        return self.squared**0.5

    @property
    def r2(self) -> float | None:
        """Coefficient of determination: 1 minus the squared error over the variance; None if all values are equal."""
        return 1 - self.squared / self.deviation**2 if self.deviation else None


class NumbersAssessed(_Record):
    """Answers that are numbers.

    Args:
        examples: their number, without those left out.
        left_out: examples without finite predictions.
        outputs: figures of each number that an example has, in order; empty if they are too many.
        absolute: mean absolute error over all numbers.
        squared: mean squared error over all numbers.
        absolute_interval: its interval at `CONFIDENCE`, examples being independent; None for fewer than two examples.
        squared_interval: likewise.
        points: pairs (true, predicted) of each number of ``outputs``, of examples evenly taken from all; empty beyond
            the first few numbers.
    """

    kind: Literal["numbers"] = "numbers"
    examples: int
    left_out: int = 0
    outputs: tuple[NumberFigures, ...]
    absolute: float
    squared: float
    absolute_interval: Bounds | None
    squared_interval: Bounds | None
    points: tuple[tuple[tuple[float, float], ...], ...] = ()

    @cached_property
    def root(self) -> float:
        """Root of the mean squared error over all numbers."""
        return float(self.squared**0.5)


Assessed = Annotated[ClassesAssessed | NumbersAssessed, Field(discriminator="kind")]
"""How good the answers over a split were."""


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
