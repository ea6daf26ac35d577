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
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


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


class OtherAssessed(_Record):
    """Answers of a kind that reports do not look into.

    Args:
        name: of the kind.
        examples: their number.
        left_out: always 0.
    """

    kind: Literal["other"] = "other"
    name: str
    examples: int
    left_out: int = 0


class Content(_Record):
    """An example in a form for people; one of the fields has it.

    Args:
        picture: PNG in base64.
        size: (width, height) of the picture in pixels, before it was made smaller.
        series: numbers of each channel, None for missing ones.
        channels: names of the channels; empty if they have none.
        text: a text.
        symbols: symbols of several letters each.
        cells: a row of a table, pairs (column, cell).
        tokens: whether it is what the model saw, since the example has no other form.
        length: characters, symbols, steps, channels or cells before it was cut; 0 if nothing was cut.
    """

    picture: str = ""
    size: tuple[int, int] | None = None
    series: tuple[tuple[float | None, ...], ...] = ()
    channels: tuple[str, ...] = ()
    text: str = ""
    symbols: tuple[str, ...] = ()
    cells: tuple[tuple[str, str], ...] = ()
    tokens: bool = False
    length: int = 0


class Mistake(_Record):
    """An example with a wrong answer, or a large error.

    Args:
        index: of the example in its split; None if it was generated for this evaluation.
        name: what the example is called in its file; empty if it has no name.
        loss: of the example.
        true: its targets, at most the first few hundred: numbers of classes, or numbers. -100 is not labelled.
        predicted: the predictions for the same.
        confidence: of classes, the probability of each predicted class.
        answers: answers of the example, more than are listed if there are many.
        content: the example.
    """

    index: int | None
    name: str = ""
    loss: float
    true: tuple[float, ...]
    predicted: tuple[float, ...]
    confidence: tuple[float, ...] = ()
    answers: int
    content: Content


Assessed = Annotated[ClassesAssessed | NumbersAssessed | OtherAssessed, Field(discriminator="kind")]
"""How good the answers over a split were."""


class SplitAssessed(_Record):
    """How good the answers to one test split were.

    Args:
        size: examples of the split; None if it is endless.
        evaluated: examples that were evaluated.
        loss: mean loss over the examples, of the kind of answers.
        loss_interval: its interval at `CONFIDENCE`, examples being independent; None for fewer than two examples.
        unit: whether numbers are in the unit of the data; otherwise they are in the scale of the model.
        answers: figures of the answers.
        worst: the examples with the largest loss, of classes only those with a wrong answer; the worst first.
    """

    size: int | None
    evaluated: int
    loss: float
    loss_interval: Bounds | None
    unit: bool = False
    answers: Assessed
    worst: tuple[Mistake, ...] = ()


class RunAssessed(_Record):
    """The content of a run's ``assessment.json``.

    Args:
        format: version of the file.
        step: training step whose tensors answered.
        splits: by name, in the order of the task.
    """

    format: Literal[1] = 1
    step: int
    splits: dict[str, SplitAssessed]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
