"""The task ``tabular``: predict one column of a table from the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torchmetrics
from numpy.typing import NDArray

from fptkit import ArraySplit, Classes, Split, Task, Values, Vectors
from fptkit.errors import DataError, UnknownNameError, UsageError
from fptkit.sources import choose
from fptkit.tasks.reading.cautions import class_warnings, size_warnings
from fptkit.tasks.reading.labels import find_classes, same_label
from fptkit_tabular.baseline import baseline_note
from fptkit_tabular.options import TabularOptions
from fptkit_tabular.table import Table, check_columns, is_numeric, open_table, parse_numbers
from fptkit_tabular.tokens import CategoricalColumn, Column, NumericColumn, make_tokens, token_width

_ADVICE = (
    "Use your own CSV file with column names in its first line (source: path:FILE.csv, target: COLUMN), or\n"
    "a table of scikit-learn: sklearn:breast_cancer, sklearn:wine, sklearn:iris, sklearn:diabetes."
)
_MOST_CLASSES = 20
"""Number of different whole numbers in the target above which ``problem: auto`` means regression."""


@dataclass(frozen=True)
class Target:
    """The column to predict.

    Args:
        values: (N,) int64 classes, or (N,) float64 numbers.
        classes: names of the classes; empty for numbers.
    """

    values: NDArray[np.int64] | NDArray[np.float64]
    classes: tuple[str, ...]


class Tabular(Task):
    """Predict one column of a table from the others. A row is a sequence; each other column is a token.

    A token consists of the number, centred and scaled (0 for categories); a missing-value flag; the category as a
    one-hot vector, with one entry for all rare and unknown categories; and the column as a one-hot vector (option
    ``column_identity``). Means, standard deviations and categories come from training rows only.

    Args:
        options: see `TabularOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: source that an earlier run of this recipe used; only it is tried.

    Shapes: inputs (B, T, F); targets (B,) and logits (B, K) for classes, (B, 1) for numbers, scaled by the mean and
    standard deviation of the training rows, so that always answering the mean has a squared error of about 1.

    Raises:
        SourceError: no listed source is available.
        DataError: the file is not a table, or a cell does not fit its column.
        UsageError: a column in the options is missing, or the target does not fit the problem.

    Source: Gorishniy et al. 2021 (FT-Transformer), section 3.3, for one token per column. Differences: one linear map
    for all tokens, which is equivalent given the one-hot vector of the column; no class token; numbers are
    standardised instead of quantile-transformed.
    """

    input: Vectors
    output: Classes | Values

    def __init__(self, options: TabularOptions, *, seed: int, pinned: str | None = None) -> None:
        choice = choose(
            options.source,
            lambda entry: open_table(entry, options),
            what="table of task tabular",
            pinned=pinned,
            advice=_ADVICE,
        )
        table = choice.found
        self.source, self.stand_in = choice.entry, choice.stand_in
        check_columns(table, options)
        target = _read_target(table, options)
        rows = split_rows(target, options)
        columns, encoded = _encode(table, options, rows["train"])
        identity = options.column_identity == "one_hot"
        self.input = Vectors(token_width(columns, identity))
        self.max_tokens = len(columns)
        if target.classes:
            self.output = Classes(len(target.classes), names=target.classes)
            targets = torch.from_numpy(target.values)
            commonest = int(np.bincount(target.values[rows["train"]]).argmax())
            self.majority_accuracy = {
                name: float((target.values[some] == commonest).mean()) for name, some in rows.items()
            }
        else:
            self.output = Values(1)
            known = target.values[rows["train"]]
            scaled = (target.values - known.mean()) / (float(known.std()) or 1.0)
            targets = torch.from_numpy(scaled[:, None].astype(np.float32))
        tokens = torch.from_numpy(make_tokens(columns, encoded, identity=identity))
        self._splits = {name: ArraySplit(tokens[some], targets[some], vectors=True) for name, some in rows.items()}
        if target.classes:
            split_targets = {name: target.values[some].astype(np.int64) for name, some in rows.items()}
            self.warnings = class_warnings(split_targets, target.classes)
        self.warnings = (*self.warnings, *size_warnings({name: len(some) for name, some in rows.items()}))
        self.notes = (
            *(f"{entry}: {reason}" for entry, reason in choice.skipped),
            *_notes(columns, encoded, target, rows),
            baseline_note(encoded, targets.numpy(), rows, classes=bool(target.classes)),
        )

    def split(self, name: str) -> Split:
        """Return the split ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in self._splits:
            raise UnknownNameError("split of task tabular", name, self._splits)
        return self._splits[name]

    def metrics(self) -> torchmetrics.MetricCollection:
        """Return accuracy for classes; for numbers mean squared error, which chooses the best step, and absolute."""
        if isinstance(self.output, Classes):
            return super().metrics()
        return torchmetrics.MetricCollection(
            {
                "mean_squared_error": torchmetrics.MeanSquaredError(),
                "mean_absolute_error": torchmetrics.MeanAbsoluteError(),
            }
        )


def _read_target(table: Table, options: TabularOptions) -> Target:
    """Read the column to predict, as classes or as numbers."""
    cells = table.cells(options.target)
    for row, cell in enumerate(cells):
        if cell in options.missing:
            raise DataError(f"{table.where(row)}: the target '{options.target}' is missing; remove the row")
    if options.problem == "regression" or (options.problem == "auto" and _looks_real(table, cells, options)):
        return Target(np.array(parse_numbers(table, options.target, ()), np.float64), ())
    if len(set(map(same_label, cells))) < 2:
        raise UsageError(f"tabular: the target '{options.target}' of {table.name} is {cells[0]!r} in every row")
    found = find_classes(cells, table.name)
    if len(found.names) == len(cells):
        raise UsageError(
            f"tabular: every row of {table.name} has another target '{options.target}', like an identifier; choose "
            "another column, or set problem: regression for numbers"
        )
    return Target(np.array(found.numbers(cells), np.int64), found.names)


def _looks_real(table: Table, cells: list[str], options: TabularOptions) -> bool:
    if not is_numeric(table, options.target, options):
        return False
    numbers = parse_numbers(table, options.target, ())
    return options.target in options.numeric or any(n != int(n) for n in numbers) or len(set(cells)) > _MOST_CLASSES


def split_rows(target: Target, options: TabularOptions) -> dict[str, NDArray[np.int64]]:
    """Draw the rows of each split, stratified by class; at least one row of each class is in train.

    Args:
        target: the column to predict.
        options: fractions and seed of the splits.

    Raises:
        UsageError: a split would be empty.
    """
    chance = np.random.Generator(np.random.PCG64(options.split_seed))
    groups = target.values if target.classes else np.zeros(len(target.values), np.int64)
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "validation": [], "test": []}
    for group in np.unique(groups):
        members = chance.permutation(np.flatnonzero(groups == group))
        spare = len(members) - 1
        test = min(round(options.test_share * len(members)), spare)
        validation = min(round(options.validation_share * len(members)), spare - test)
        for name, some in zip(
            parts, np.split(members, [len(members) - test - validation, len(members) - test]), strict=True
        ):
            parts[name].append(some)
    rows = {name: np.sort(np.concatenate(some)) for name, some in parts.items()}
    if empty := [name for name, some in rows.items() if not len(some)]:
        raise UsageError(
            f"tabular: {len(groups)} rows leave none for {', '.join(empty)}; raise validation_share or test_share"
        )
    return rows


def _encode(
    table: Table, options: TabularOptions, train: NDArray[np.int64]
) -> tuple[list[Column], list[NDArray[np.float32]]]:
    """Return the encodings of the columns, fitted to training rows, and the encoded numbers of all rows."""
    columns: list[Column] = []
    encoded: list[NDArray[np.float32]] = []
    for name in table.columns:
        if name == options.target or name in options.ignore:
            continue
        if is_numeric(table, name, options):
            values = parse_numbers(table, name, options.missing)
            numeric = NumericColumn.fit(name, values, train)
            columns.append(numeric)
            encoded.append(numeric.encode(values))
        else:
            cells = table.cells(name)
            names = CategoricalColumn.fit(name, cells, train, options.missing, options.max_categories)
            columns.append(names)
            encoded.append(names.encode(cells, options.missing))
    if not columns:
        raise UsageError(f"tabular: {table.name} has no columns other than the target and ignored ones")
    return columns, encoded


def _notes(
    columns: list[Column],
    encoded: list[NDArray[np.float32]],
    target: Target,
    rows: dict[str, NDArray[np.int64]],
) -> list[str]:
    sizes = ", ".join(f"{name} {len(some):,}" for name, some in rows.items())
    numeric = sum(isinstance(column, NumericColumn) for column in columns)
    kind = f"{len(target.classes)} classes" if target.classes else "a number, scaled by the training rows"
    notes = [f"rows: {sizes}; {numeric} numeric and {len(columns) - numeric} categorical columns; target: {kind}"]
    flags = [
        numbers[:, 1] if isinstance(c, NumericColumn) else numbers[:, 0]
        for c, numbers in zip(columns, encoded, strict=True)
    ]
    if missing := int(sum(flag.sum() for flag in flags)):
        notes.append(f"{missing:,} missing cells, marked by a flag in their tokens")
    others = [
        c.name for c, n in zip(columns, encoded, strict=True) if isinstance(c, CategoricalColumn) and n[:, -1].any()
    ]
    if others:
        notes.append(f"categories that are rare or not seen in train are merged into one: {', '.join(others)}")
    return notes
