"""What an evaluation found: metrics, confusion, per class, calibration, errors of numbers."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.engine.assessment.records import ClassesAssessed, NumbersAssessed, SplitAssessed
from fptkit.errors import UsageError

Row = dict[str, Any]
"""Values by column."""


@dataclass(frozen=True)
class Part:
    """The evaluation of one split, or of some files.

    Args:
        metrics: the metrics of the task by name, and ``loss``.
        fractions: names of those that are fractions, shown in percent.
        assessed: everything else that is known about the answers.
    """

    metrics: Mapping[str, float]
    fractions: tuple[str, ...]
    assessed: SplitAssessed

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.assessed.evaluated

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of `confusion`; empty for numbers."""
        answers = self.assessed.answers
        return answers.names if isinstance(answers, ClassesAssessed) else ()

    @property
    def confusion(self) -> NDArray[np.int64] | None:
        """Answers by true class (rows) and predicted class (columns). Shapes: (K, K). None for numbers, or for so many
        classes that not all pairs were counted."""
        answers = self.assessed.answers
        matrix = answers.matrix if isinstance(answers, ClassesAssessed) else None
        return None if matrix is None else np.array(matrix, np.int64)

    @property
    def per_class(self) -> list[Row]:
        """For each class: ``class``, ``precision``, ``recall``, ``f1``, ``support``, ``predicted``; empty for numbers.

        None is where a figure does not exist, such as the precision of a class that was never predicted. With several
        labels, the rows are those of the labels: ``class`` is the label, and the figures are of its presence.
        """
        answers = self.assessed.answers
        if not isinstance(answers, ClassesAssessed):
            return []
        if answers.place == "label":
            named = [(place.name, place.classes[1]) for place in answers.places if place.classes]
        else:
            named = list(zip(answers.names, answers.classes, strict=True))
        return [
            {
                "class": name,
                "precision": one.precision,
                "recall": one.recall,
                "f1": one.f1,
                "support": one.support,
                "predicted": one.predicted,
            }
            for name, one in named
        ]

    @property
    def calibration(self) -> list[Row]:
        """Bins of the predicted class's probability: ``low``, ``high``, ``answers``, ``confidence`` and ``accuracy``;
        empty for numbers."""
        answers = self.assessed.answers
        return [one.model_dump() for one in answers.calibration] if isinstance(answers, ClassesAssessed) else []

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error over the bins of `calibration`; None for numbers."""
        answers = self.assessed.answers
        return answers.calibration_error if isinstance(answers, ClassesAssessed) else None

    @property
    def numbers(self) -> list[Row]:
        """For each number ``name``, ``mean_absolute_error``, ``root_mean_squared_error``, ``r2`` and ``bias``; empty
        for classes. They are in the unit of the data if ``in_unit`` is true, else in the scale of the model."""
        answers = self.assessed.answers
        if not isinstance(answers, NumbersAssessed):
            return []
        return [
            {
                "name": one.name,
                "mean_absolute_error": one.absolute,
                "root_mean_squared_error": one.root,
                "r2": one.r2,
                "bias": one.bias,
            }
            for one in answers.outputs
        ]

    @property
    def in_unit(self) -> bool:
        """Whether `numbers` are in the unit of the data."""
        return self.assessed.unit

    def content(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        confusion = self.confusion
        found: dict[str, Any] = {"examples": self.examples, "metrics": dict(self.metrics)}
        if isinstance(self.assessed.answers, ClassesAssessed):
            return {
                **found,
                "classes": list(self.assessed.answers.names),
                "confusion": None if confusion is None else confusion.tolist(),
                "per_class": self.per_class,
                "calibration_error": self.calibration_error,
                "calibration": self.calibration,
            }
        return {**found, "numbers": self.numbers, "in_unit": self.in_unit}


@dataclass(frozen=True)
class Evaluation:
    """How good a trained model is on labelled examples. `fptkit.inference.trained.TrainedModel.evaluate` makes it.

    The properties are those of its only part; of several test splits, use those of ``parts``.

    Args:
        parts: by split; one, called by its sources, for other examples.
        times_opened: how often the test splits, or files of this content, were evaluated, this time included; None if
            that is not counted.
        notes: what is to be known about the examples.
    """

    parts: Mapping[str, Part]
    times_opened: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> Mapping[str, float]:
        """See `Part`."""
        return self._only.metrics

    @property
    def confusion(self) -> NDArray[np.int64] | None:
        """See `Part.confusion`."""
        return self._only.confusion

    @property
    def per_class(self) -> list[Row]:
        """See `Part.per_class`."""
        return self._only.per_class

    @property
    def calibration(self) -> list[Row]:
        """See `Part.calibration`."""
        return self._only.calibration

    @property
    def calibration_error(self) -> float | None:
        """See `Part.calibration_error`."""
        return self._only.calibration_error

    @property
    def numbers(self) -> list[Row]:
        """See `Part.numbers`."""
        return self._only.numbers

    def content(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        parts = {name: part.content() for name, part in self.parts.items()}
        return {"times_opened": self.times_opened, "notes": list(self.notes), "parts": parts}

    def __str__(self) -> str:
        counted = [] if self.times_opened is None else [opened(self.times_opened)]
        return "\n".join([*self._lines(), *counted, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        """For notebooks: a table of the metrics."""
        names = list(dict.fromkeys(name for part in self.parts.values() for name in part.metrics))
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in ("split", "examples", *names))
        rows = "".join(
            f"<tr><td>{html.escape(split)}</td><td>{part.examples:,}</td>"
            + "".join(f"<td>{shown(part, name)}</td>" for name in names)
            + "</tr>"
            for split, part in self.parts.items()
        )
        note = "" if self.times_opened is None else f"<p>{opened(self.times_opened)}</p>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"

    def _lines(self) -> Iterator[str]:
        for split, part in self.parts.items():
            metrics = ", ".join(f"{name.replace('_', ' ')} {shown(part, name)}" for name in part.metrics)
            yield f"{split}: {part.examples:,} examples, {metrics}"

    @property
    def _only(self) -> Part:
        if len(self.parts) > 1:
            raise UsageError(f"this evaluation has several parts ({', '.join(self.parts)}); choose one: parts[NAME]")
        return next(iter(self.parts.values()))


def shown(part: Part, metric: str) -> str:
    """A metric as text; empty if the part does not have it."""
    if metric not in part.metrics:
        return ""
    value = part.metrics[metric]
    return f"{value:.1%}" if metric in part.fractions else f"{value:.4f}"


def opened(times: int) -> str:
    """How often data were opened, in words."""
    return f"opened {times} time{'' if times == 1 else 's'}"
