"""The task ``table``: predict a column from the others. A row is a sequence, and each other column a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit.errors import UsageError
from fptkit.interfaces import Batch, Examples, Grid, Preparation, Shown, Split
from fptkit.tasks.own_data.target import Target
from fptkit.tasks.own_data.task import OwnDataTask
from fptkit.tasks.reading.columns import Column, Kind, check_categories, read_column
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.labels import same_label, shown
from fptkit.tasks.reading.numbers import parse_numbers
from fptkit.tasks.reading.options import TargetOptions
from fptkit.tasks.reading.paths import SourceFiles
from fptkit.tasks.reading.timing import FEWEST, has_equal_steps, is_identifier
from fptkit.tasks.table.options import ENDINGS, TableOptions
from fptkit.tasks.table.preparation import CategoryColumn, Encoded, TablePreparation, cells_of, fit_column
from fptkit.tasks.table.reader import read_table, same_columns


class TableSplit:
    """A split of rows, encoded once; one-hot vectors are made for each batch, so that they take no memory.

    Args:
        preparation: prepares the rows.
        examples: the rows, labelled.
    """

    size: int | None
    token_counts: NDArray[np.int64] | None = None

    def __init__(self, preparation: TablePreparation, examples: Examples) -> None:
        self.size = len(examples)
        self.targets = preparation.target.encode(examples)
        self._preparation, self._encoded = preparation, preparation.encode(examples)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """Return the rows with these indices.

        Shapes: inputs (B, T, 1, C) float32 for T columns, targets as the target says.

        Args:
            indices: indices of the rows, at least one.
            generator: not used; rows involve no randomness.
        """
        rows = np.asarray(indices, np.int64)
        some = Encoded(self._encoded.numbers[rows], self._encoded.codes[rows])
        return Batch(self._preparation.expand(some), self.targets[torch.from_numpy(rows)])


class Table(OwnDataTask):
    """Predict a column of a table from the others.

    A cell has as many numbers as the widest column: of numbers the value, centred and scaled, and 1 if it is missing;
    of dates also their place in year, week and day; of categories a one-hot vector. The encoder ``features`` has a map
    of its own for each column.

    Args:
        options: see `TableOptions`.
        seed: the run's seed; data and splits do not depend on it.
        pinned: not used.

    Shapes: inputs (B, T, 1, C) for T columns; targets (B,) for classes, (B, 1, L) for L labels, (B, width) for numbers.

    Raises:
        SourceError: a file does not exist.
        DataError: a file is not a table, or a cell does not fit its column.
        UsageError: a column in the options is missing, or no column is left.

    Source: Gorishniy et al. 2021 (FT-Transformer), section 3.3, for one token per column.
    """

    name, endings, default_encoder = "table", ENDINGS, "features"

    input: Grid

    def __init__(self, options: TableOptions, *, seed: int, pinned: str | None = None) -> None:
        self._names: list[str] = []  # the columns of the content
        self._kinds: dict[str, Kind] = {}
        self._counting: dict[str, list[bool]] = {}  # for each table, whether the column only counts
        self._notes: list[str] = []
        self._merged: list[str] = []
        super().__init__(options, seed=seed, pinned=pinned)

    def read_split(self, files: SourceFiles, split: str, options: TargetOptions) -> Examples:
        """See `OwnDataTask.read_split`. Content: rows of cells, without target columns and those that are ignored."""
        assert isinstance(options, TableOptions)
        tables = [read_table(path, options.delimiter, header=options.header) for path in files.splits[split]]
        if not self._names:
            self._choose_columns(tables[0], options)
        same_columns([TextTable(tables[0].name, dict.fromkeys(self._names, ())), *tables], self._names)
        return Examples.joined([self._examples(table, options) for table in tables])

    def fit(
        self, examples: Examples, train: NDArray[np.int64], target: Target, options: TargetOptions
    ) -> TablePreparation:
        """See `OwnDataTask.fit`.

        Raises:
            UsageError: no column is left.
            DataError: a cell does not fit its column, or a column is an identifier.
        """
        assert isinstance(options, TableOptions)
        fitted = []
        for place, name in enumerate(self._names):
            column = self._read(name, examples, place, options)
            if reason := self._unused(column, train, options):
                self._notes.append(f"column '{name}' is not used: {reason}")
                continue
            if column.kind == "category":
                check_categories(column, f"task {self.name}")
            fitted.append(fit_column(column, train, options.max_categories))
            if isinstance(found := fitted[-1], CategoryColumn):
                others = len(set(map(same_label, filter(None, column.cells)))) - len(found.categories)
                self._merged += [f"{name} ({others:,})"] if others else []
        if not fitted:
            raise UsageError("task table: no column is left to predict from; check target and ignore")
        self._used = [self._names.index(column.name) for column in fitted]
        return TablePreparation(
            columns=tuple(fitted),
            target=target,
            missing=options.missing,
            decimal=options.decimal,
            delimiter=options.delimiter,
            header=options.header,
        )

    def make_split(self, preparation: Preparation, examples: Examples, name: str, options: TargetOptions) -> Split:
        """See `OwnDataTask.make_split`; without the columns that are not used."""
        assert isinstance(preparation, TablePreparation)
        content = np.asarray(examples.content, object)[:, self._used]
        return TableSplit(preparation, Examples(content, examples.names, examples.labels))

    def show(self, split: str, index: int) -> Shown | None:
        """See `fptkit.Task.show`: the cells of the columns that are used."""
        if (examples := self._tested.get(split)) is None:
            return None
        cells = {self._names[place]: str(examples.content[index][place]) for place in self._used}
        return Shown(name=examples.names[index], cells=cells)

    def further_notes(self, preparation: Preparation, examples: Mapping[str, Examples]) -> Sequence[str]:
        """Kinds of the columns, those that are not used, and rare categories."""
        assert isinstance(preparation, TablePreparation)
        kinds = [column.kind for column in preparation.columns]
        dates = f", {kinds.count('date')} of dates" if "date" in kinds else ""
        return (
            f"columns: {kinds.count('number')} numeric and {kinds.count('category')} categorical{dates}",
            *dict.fromkeys(self._notes),
            *((f"rare and unseen categories are merged into one: {shown(self._merged)}",) if self._merged else ()),
        )

    def _choose_columns(self, table: TextTable, options: TableOptions) -> None:
        """Choose the columns of the content: all but targets, ignored ones and those that name splits or groups."""
        for option in ("target", "ignore", "numeric", "categorical"):
            for name in getattr(options, option):
                table.need(name, f"task.{option}")
        for option in ("group", "time", "column"):
            if name := getattr(options.split, option):
                table.need(name, f"task.split.{option}")
        left_out = {*options.target, *options.ignore, options.split.group, options.split.column}
        self._names = [name for name in table.columns if name not in left_out]
        self._kinds = {
            **{name: kind for name, kind in table.kinds.items() if kind in ("number", "date")},  # type: ignore[misc]
            **dict.fromkeys(options.numeric, "number"),
            **dict.fromkeys(options.categorical, "category"),
        }
        if aside := [name for name in (options.split.group, options.split.column) if name]:
            self._notes.append(f"columns that decide the split are not used otherwise: {', '.join(aside)}")

    def _examples(self, table: TextTable, options: TableOptions) -> Examples:
        for name in self._names:
            self._counting.setdefault(name, []).append(_counts(table.columns[name], options))
        split = [name for name in (options.split.group, options.split.time, options.split.column) if name]
        for name in (*options.target, *split):
            table.need(name, "task.target" if name in options.target else "task.split")
        return Examples(
            cells_of(table.columns, self._names),
            [table.where(row) for row in range(len(table))],
            {name: table.columns[name] for name in options.target},
            {name: table.columns[name] for name in split},
            table.notes,
        )

    def _read(self, name: str, examples: Examples, place: int, options: TableOptions) -> Column:
        cells = [row[place] for row in examples.content]
        column = read_column(
            name,
            cells,
            examples.names.__getitem__,
            missing=options.missing,
            decimal=options.decimal,
            declared=self._kinds.get(name),
        )
        self._notes += column.notes
        return column

    def _unused(self, column: Column, train: NDArray[np.int64], options: TableOptions) -> str:
        """Why a column is not used; empty if it is."""
        if column.kind == "empty":
            return "all its cells are missing"
        if column.kind == "number" and column.name not in options.numeric and all(self._counting[column.name]):
            return "it rises by the same step in every row, like a row number"
        if column.kind == "number" and column.name not in options.numeric and is_identifier(column.name, column.cells):
            return "it has another whole number in every row, like an identifier (option numeric would use it)"
        seen = {column.cells[row] for row in train}
        if column.kind == "category" and len(seen) == 1:
            return f"it is {next(iter(seen))!r} in every training row"
        if column.kind != "category":
            known = np.asarray(column.numbers, np.float64)[train]
            if not np.isnan(known).any() and len(np.unique(known)) == 1:
                return f"it is {known[0]:g} in every training row"
        return ""


def _counts(cells: Sequence[str], options: TableOptions) -> bool:
    """Whether a column rises by the same step in every row; the first rows decide for most columns."""
    for some in (cells[:FEWEST], cells):
        numbers = parse_numbers(some, options.missing, options.decimal)
        if None in numbers or not has_equal_steps([n for n in numbers if n is not None]):
            return False
    return True
