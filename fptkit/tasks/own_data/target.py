"""What is predicted: a class, several labels at once, or numbers; the same rules for all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from fptkit.errors import DataError, UsageError
from fptkit.interfaces import Classes, Examples, Metric, Preparation, Values
from fptkit.interfaces.answer_metrics import LabelsF1
from fptkit.tasks.own_data.metrics import AbsoluteError
from fptkit.tasks.reading.columns import Column, check_categories, read_column
from fptkit.tasks.reading.labels import find_classes, same_label, shown
from fptkit.tasks.reading.numbers import advice, in_another_style, parse_number, parse_numbers, short
from fptkit.tasks.reading.options import TargetOptions
from fptkit.tasks.reading.scaling import moments

MOST_CLASSES = 20
"""Number of different whole numbers in a target above which ``problem: auto`` means regression."""

_YES = {"1": 1, "true": 1, "yes": 1, "t": 1, "y": 1, "0": 0, "false": 0, "no": 0, "f": 0, "n": 0}


class Target(BaseModel):
    """What is predicted, fitted to the training data; a part of a format's preparation.

    Args:
        kind: ``classes``: one class per example; ``labels``: any of several labels; ``numbers``: regression.
        columns: the target columns; a class folder is one column.
        names: names of the classes, of the labels, or of the numbers.
        separator: what separates labels in a cell; empty if each label has a column of its own.
        decimal: decimal mark of numbers.
        mean: of numbers, the mean over the training examples.
        deviation: of numbers, their standard deviation; predictions are in units of it, from the mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classes", "labels", "numbers"]
    columns: tuple[str, ...]
    names: tuple[str, ...]
    separator: str = ""
    decimal: str = "."
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @property
    def output(self) -> Classes | Values:
        """The kind of the answers. Several labels are as many answers of two classes at one token."""
        if self.kind == "classes":
            return Classes(len(self.names), names=self.names)
        if self.kind == "labels" and len(self.names) > 1:
            return Classes(2, per_token=len(self.names), names=("no", "yes"), answers=self.names)
        if self.kind == "labels":
            return Classes(2, names=("no", "yes"), answers=self.names)
        return Values(len(self.names), names=self.names)

    def encode(self, examples: Examples) -> Tensor:
        """The targets of labelled examples; zeros in their shape for unlabelled ones.

        Shapes: (B,) int64 for classes, (B, 1, L) int64 of 0 and 1 for L labels, (B, width) float32 for numbers.

        Args:
            examples: with or without labels.

        Raises:
            DataError: a label is unknown, or is not a number.
        """
        dtype = torch.float32 if self.kind == "numbers" else torch.int64
        if not all(column in examples.labels for column in self.columns):
            return torch.zeros(self.output.target_shape(len(examples)), dtype=dtype)
        cells = [examples.labels[column] for column in self.columns]
        if self.kind == "classes":
            values: Any = self._classes(cells[0], examples.names)
        elif self.kind == "labels":
            values = self._labels(cells, examples.names)
        else:
            scaled = (self._numbers(cells, examples.names) - np.array(self.mean)) / np.array(self.deviation)
            values = scaled.astype(np.float32)
        return torch.as_tensor(values, dtype=dtype).reshape(self.output.target_shape(len(examples)))

    def metrics(self) -> dict[str, Metric]:
        """New metrics by name: those of the kind of answers, and F1 of labels or absolute errors in the data's unit."""
        found = self.output.metrics()
        if self.kind == "labels":
            found["f1"] = LabelsF1()
        elif self.kind == "numbers":
            alone = len(self.names) == 1
            for place, (name, deviation) in enumerate(zip(self.names, self.deviation, strict=True)):
                suffix = "" if alone else f"_{name}"
                found[f"mean_absolute_error{suffix}"] = AbsoluteError(slice(place, place + 1), deviation)
        return found

    def majority(self, targets: Mapping[str, Tensor]) -> dict[str, float]:
        """For each split, the accuracy of the most frequent answer in ``train``; empty for numbers.

        Args:
            targets: encoded targets by split.
        """
        if self.kind == "numbers":
            return {}
        flat = {name: values.reshape(len(values), -1) for name, values in targets.items()}
        count = self.output.width if self.kind == "classes" else 2
        common = [int(torch.bincount(column, minlength=count).argmax()) for column in flat["train"].T]
        wanted = torch.tensor(common)
        return {name: float((values == wanted).double().mean()) for name, values in flat.items()}

    def answers(self, predictions: Tensor) -> list[dict[str, Any]]:
        """Predictions in the words and the unit of the data.

        Args:
            predictions: logits or scaled numbers of N examples, as the head gives them.
        """
        if self.kind == "numbers":
            rows = predictions.double().cpu() * torch.tensor(self.deviation) + torch.tensor(self.mean)
            return [dict(zip(self.names, row, strict=True)) for row in rows.tolist()]
        chances = predictions.double().cpu().softmax(-1)
        if self.kind == "labels":
            rows = chances.reshape(len(chances), -1, 2)[..., 1]
            return [
                {
                    "labels": [name for name, chance in zip(self.names, row, strict=True) if chance > 0.5],
                    "probabilities": dict(zip(self.names, row, strict=True)),
                }
                for row in rows.tolist()
            ]
        return [
            {"class": self.names[int(np.argmax(row))], "probabilities": dict(zip(self.names, row, strict=True))}
            for row in chances.tolist()
        ]

    def _classes(self, cells: Sequence[str], names: Sequence[str]) -> list[int]:
        place = {name: number for number, name in enumerate(self.names)}
        return [self._place(place, cell, name) for cell, name in zip(cells, names, strict=True)]

    def _place(self, place: Mapping[str, int], cell: str, name: str) -> int:
        if (found := place.get(same_label(cell))) is None:
            raise DataError(f"{name}: unknown label {short(cell)}; the model knows {shown(self.names)}")
        return found

    def _labels(self, cells: Sequence[Sequence[str]], names: Sequence[str]) -> NDArray[np.int64]:
        found = np.zeros((len(names), len(self.names)), np.int64)
        if not self.separator:
            for column, some in enumerate(cells):
                for row, cell in enumerate(some):
                    found[row, column] = _yes(cell, names[row], self.columns[column])
            return found
        place = {name: number for number, name in enumerate(self.names)}
        for row, cell in enumerate(cells[0]):
            for label in _split(cell, self.separator):
                found[row, self._place(place, label, names[row])] = 1
        return found

    def _numbers(self, cells: Sequence[Sequence[str]], names: Sequence[str]) -> NDArray[np.float64]:
        for column, some in zip(self.columns, cells, strict=True):
            for row, number in enumerate(parse_numbers(some, (), self.decimal)):
                if number is None:
                    raise DataError(f"{names[row]}: target '{column}': {short(some[row])} is not a number")
        return np.array([parse_numbers(some, (), self.decimal) for some in cells], np.float64).T


class TargetPreparation(Preparation):
    """Base of preparations with a `Target`: the kind of the answers, and answers in the words and units of the data.

    Args:
        target: what is predicted.
    """

    target: Target

    @property
    def output(self) -> Classes | Values:
        """That of the target."""
        return self.target.output

    def metrics(self) -> Mapping[str, Metric]:
        """See `Target.metrics`."""
        return self.target.metrics()

    def answers(self, predictions: Tensor) -> list[dict[str, Any]]:
        """See `Target.answers`."""
        return self.target.answers(predictions)


def fit_target(
    everything: Examples,
    train: Sequence[int] | NDArray[np.int64],
    options: TargetOptions,
    *,
    declared: Sequence[str] = (),
    missing: Sequence[str] = ("",),
    decimal: str = ".",
) -> tuple[Target, tuple[str, ...], tuple[str, ...]]:
    """Find what is predicted from the labels of all splits; scale numbers by the training examples.

    Args:
        everything: labelled examples of all splits.
        train: those of train.
        options: what the user declares.
        declared: classes that the data declare, in their order; may be empty.
        missing: words that mean a missing label.
        decimal: decimal mark of numbers.

    Returns:
        target: the target.
        notes: what the run header should say.
        warnings: what is probably wrong with the labels.

    Raises:
        DataError: a label is missing, or does not fit the problem.
        UsageError: the problem does not fit the target columns.
    """
    columns = tuple(everything.labels)
    if not columns:
        raise UsageError("task: the examples have no labels; name the column to predict, or put them in class folders")
    problem = _problem(everything, options, missing, decimal) if options.problem == "auto" else options.problem
    if problem != "labels" or not options.separator:
        _check_present(everything, missing)
    if problem == "classification":
        return _fit_classes(everything, declared)
    if problem == "labels":
        return _fit_labels(everything, options.separator or "")
    return _fit_numbers(everything, train, decimal)


def _problem(examples: Examples, options: TargetOptions, missing: Sequence[str], decimal: str) -> str:
    """The problem that the labels suggest."""
    if options.separator:
        return "labels"
    cells = list(examples.labels.values())
    if len(cells) > 1:
        filled = {same_label(cell).lower() for some in cells for cell in set(some)}
        return "labels" if filled <= _YES.keys() else "regression"
    numbers = parse_numbers([cell.strip() for cell in cells[0] if cell not in missing], (), decimal)
    if not numbers or None in numbers:
        _check_style(examples, cells[0], decimal)
        return "classification"
    fractional = any(number is not None and number != int(number) for number in numbers)
    return "regression" if fractional or len(set(numbers)) > MOST_CLASSES else "classification"


def _check_style(examples: Examples, cells: Sequence[str], decimal: str) -> None:
    """Refuse a target of numbers that are written in another way: classes of them would be nonsense.

    Raises:
        DataError: all filled cells are such numbers, or numbers.
    """
    filled = [(row, cell.strip()) for row, cell in enumerate(cells) if cell.strip()]
    strange = [(row, cell) for row, cell in filled if parse_number(cell, decimal) is None]
    if strange and all(in_another_style(cell, decimal) for _, cell in strange):
        row, cell = strange[0]
        raise DataError(
            f"{examples.names[row]}: target '{next(iter(examples.labels))}': {short(cell)} is not a number"
            f"{advice(cell, decimal)}; if the cells are classes, set problem: classification"
        )


def _check_present(examples: Examples, missing: Sequence[str]) -> None:
    for column, cells in examples.labels.items():
        for row, cell in enumerate(cells):
            if cell in missing:
                what = f"is {short(cell)}, which means a missing value" if cell else "is missing"
                raise DataError(
                    f"{examples.names[row]}: the target '{column}' {what}; fill it in or remove the example"
                    + ("; if it is a class, set the option missing without it" if cell else "")
                )


def _fit_classes(examples: Examples, declared: Sequence[str]) -> tuple[Target, tuple[str, ...], tuple[str, ...]]:
    if len(examples.labels) > 1:
        raise UsageError(
            f"task.target: classification predicts one column, but {len(examples.labels)} are named; name one, or set "
            "problem: labels for columns of 0 and 1, or regression for numbers"
        )
    [(column, cells)] = examples.labels.items()
    if not declared:
        check_categories(Column(column, "category", cells), examples.names[0], advice="choose another target")
    found = find_classes(cells, f"target '{column}'", declared=declared)
    target = Target(kind="classes", columns=(column,), names=found.names)
    return target, (*found.notes, f"target: {len(found.names)} classes ({shown(found.names)})"), found.warnings


def _fit_labels(examples: Examples, separator: str) -> tuple[Target, tuple[str, ...], tuple[str, ...]]:
    columns = tuple(examples.labels)
    if not separator:
        for column, cells in examples.labels.items():
            for row, cell in enumerate(cells):
                _yes(cell, examples.names[row], column)
        note = f"target: {len(columns)} labels, any of which may be present ({shown(columns)})"
        return Target(kind="labels", columns=columns, names=columns), (note,), ()
    if len(columns) > 1:
        raise UsageError("task.separator: labels are separated in one column, but several targets are named; name one")
    found = find_classes(
        [label for cell in examples.labels[columns[0]] for label in _split(cell, separator)], f"target '{columns[0]}'"
    )
    note = f"target: {len(found.names)} labels, any of which may be present ({shown(found.names)})"
    target = Target(kind="labels", columns=columns, names=found.names, separator=separator)
    return target, (*found.notes, note), found.warnings


def _fit_numbers(
    examples: Examples, train: Sequence[int] | NDArray[np.int64], decimal: str
) -> tuple[Target, tuple[str, ...], tuple[str, ...]]:
    columns = tuple(examples.labels)
    read = [
        read_column(name, cells, examples.names.__getitem__, missing=(), decimal=decimal, declared="number")
        for name, cells in examples.labels.items()
    ]
    values = np.array([column.numbers for column in read], np.float64).T[np.asarray(train, np.int64)]
    found = moments(values)
    for name, constant in zip(columns, found.constant[0], strict=True):
        if constant:
            raise DataError(f"target '{name}' is {read[0].cells[0]} in every training example; choose another target")
    target = Target(
        kind="numbers",
        columns=columns,
        names=columns,
        decimal=decimal,
        mean=tuple(found.mean[0].tolist()),
        deviation=tuple(found.deviation[0].tolist()),
    )
    scales = [
        f"{name} mean {m:.4g} ± {d:.4g}" for name, m, d in zip(columns, target.mean, target.deviation, strict=True)
    ]
    note = f"target: numbers, in units of the training examples' standard deviation ({', '.join(scales)})"
    return target, (note,), ()


def _yes(cell: str, where: str, column: str) -> int:
    found = _YES.get(same_label(cell).lower())
    if found is None:
        raise DataError(f"{where}: label column '{column}' has {short(cell)}; write 1 or 0, true or false, yes or no")
    return found


def _split(cell: str, separator: str) -> list[str]:
    return [label for part in cell.split(separator) if (label := same_label(part))]
