"""The preparation of tables: the columns that are used, their scaling and categories."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from fptkit.errors import DataError
from fptkit.interfaces import Batch, Examples, Grid, Shown
from fptkit.tasks.own_data.target import TargetPreparation
from fptkit.tasks.reading.columns import Column, read_column
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.paths import find_files
from fptkit.tasks.reading.scaling import Moments, moments, standardise
from fptkit.tasks.table.options import ENDINGS
from fptkit.tasks.table.reader import read_table, same_columns

PERIODS_S = (365.2425 * 86_400, 7 * 86_400.0, 86_400.0)
"""Seconds of a year, a week and a day: the cycles in which a date is also given."""


@dataclass(frozen=True)
class Encoded:
    """Cells as numbers, without one-hot vectors.

    Shapes: numbers (N, T, P) float32 with P the widest column's numbers, codes (N, T) int64, the place of the category
    among the channels; 0 for none, since the first channel is never a category.
    """

    numbers: NDArray[np.float32]
    codes: NDArray[np.int64]


class _Scaled(BaseModel):
    """A column with mean and deviation over the training rows; a deviation of 0 means that it was constant there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    mean: float
    deviation: float

    def scaled(self, values: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Scaled values, 0 if missing, and which are missing. Shapes: (N,), (N,)."""
        known = np.asarray(values, np.float64)
        found = Moments(np.array(self.mean), np.array(self.deviation))
        missing = np.isnan(known)
        return np.where(missing, 0.0, standardise(known, found)), missing


class NumberColumn(_Scaled):
    """A column of numbers: the scaled value, and 1 if it is missing."""

    kind: Literal["number"] = "number"

    def numbers(self, column: Column) -> NDArray[np.float64]:
        """Shapes: -> (N, 2)."""
        return np.stack(self.scaled(column.numbers), axis=1)

    @property
    def channels(self) -> int:
        """Numbers per cell."""
        return 2


class DateColumn(_Scaled):
    """A column of dates: the scaled time, 1 if it is missing, sine and cosine of its place in year, week and day."""

    kind: Literal["date"] = "date"

    def numbers(self, column: Column) -> NDArray[np.float64]:
        """Shapes: -> (N, 8)."""
        scaled, missing = self.scaled(column.numbers)
        seconds = np.where(missing, 0.0, np.asarray(column.numbers, np.float64))
        angles = [2 * math.pi * seconds / period for period in PERIODS_S]
        waves = [np.where(missing, 0.0, wave(angle)) for angle in angles for wave in (np.sin, np.cos)]
        return np.stack([scaled, missing, *waves], axis=1)

    @property
    def channels(self) -> int:
        """Numbers per cell."""
        return 2 + 2 * len(PERIODS_S)


class CategoryColumn(BaseModel):
    """A column of categories: a one-hot vector of missing, the known categories, and one place for all others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["category"] = "category"
    name: str
    categories: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Numbers per cell: an unused one, missing, the categories, and all others."""
        return 3 + len(self.categories)

    def codes(self, column: Column) -> NDArray[np.int64]:
        """The channel that is 1 for each cell. Shapes: -> (N,)."""
        place = {category: 2 + number for number, category in enumerate(self.categories)}
        other = 2 + len(self.categories)
        known = {cell: place.get(same_label(cell), other) if cell else 1 for cell in set(column.cells)}
        return np.array([known[cell] for cell in column.cells], np.int64)


AnyColumn = Annotated[NumberColumn | DateColumn | CategoryColumn, Field(discriminator="kind")]


def fit_column(column: Column, train: NDArray[np.int64], most: int) -> NumberColumn | DateColumn | CategoryColumn:
    """Measure a column on the training rows.

    Args:
        column: the column, with all rows.
        train: the training rows.
        most: categories that are distinguished, the most frequent ones; ties in the order of their names.
    """
    if column.kind == "category":
        counts = Counter(same_label(column.cells[row]) for row in train if column.cells[row])
        ordered = sorted(counts, key=lambda cell: (-counts[cell], cell))
        return CategoryColumn(name=column.name, categories=tuple(ordered[:most]))
    found = moments(np.asarray(column.numbers, np.float64)[train])
    scale = {"name": column.name, "mean": found.mean.item(), "deviation": found.deviation.item()}
    return DateColumn(**scale) if column.kind == "date" else NumberColumn(**scale)


class TablePreparation(TargetPreparation):
    """How a row becomes tokens: one for each column.

    Args:
        columns: the columns that are used, in the order of their tokens.
        missing: cells that mean a missing value.
        decimal: decimal mark.
        delimiter: character between the cells of a text file; None to find it.
        header: whether the first line of a text file has the column names.
    """

    columns: tuple[AnyColumn, ...]
    missing: tuple[str, ...]
    decimal: str
    delimiter: str | None
    header: bool

    @property
    def input(self) -> Grid:
        """A cell for each column."""
        return Grid((len(self.columns), 1), max(column.channels for column in self.columns))

    @property
    def max_tokens(self) -> int:
        """Number of columns."""
        return len(self.columns)

    def read(self, source: Sequence[str]) -> Examples:
        """Read new rows; the target columns may be absent, and columns may be in any order.

        Raises:
            DataError: a file is not a table, or lacks a column.
            SourceError: there is no such file.
        """
        found = find_files({"all": tuple(source)}, ENDINGS, own=False)
        tables = [read_table(path, self.delimiter, header=self.header) for path in found.files]
        names = [column.name for column in self.columns]
        for table in tables:
            same_columns([table], names)
        labelled = all(name in table.columns for table in tables for name in self.target.columns)
        return Examples.joined(
            [
                Examples(
                    cells_of(table.columns, names),
                    [table.where(row) for row in range(len(table))],
                    {name: table.columns[name] for name in self.target.columns} if labelled else {},
                    notes=table.notes,
                )
                for table in tables
            ]
        )

    def prepare(self, examples: Examples) -> Batch:
        """See `fptkit.Preparation.prepare`. Shapes: inputs (B, T, 1, C).

        Raises:
            DataError: a cell does not fit its column.
        """
        return Batch(self.expand(self.encode(examples)), self.target.encode(examples))

    def show(self, content: Any) -> Shown:
        """The cells by column."""
        return Shown(cells={column.name: str(cell) for column, cell in zip(self.columns, content, strict=True)})

    def encode(self, examples: Examples) -> Encoded:
        """The cells as numbers, see `Encoded`; their content is (N, T) cells of text, or rows in memory: mappings from
        columns to cells, or cells in the order of `columns`. Cells may be numbers; None is a missing value.

        Raises:
            DataError: a cell does not fit its column.
        """
        count = len(examples)
        rows = examples.content if _is_text(examples.content) else self._rows(examples)
        widths = [0 if isinstance(column, CategoryColumn) else column.channels for column in self.columns]
        numbers = np.zeros((count, len(self.columns), max([*widths, 1])), np.float32)
        codes = np.zeros((count, len(self.columns)), np.int64)
        for place, own in enumerate(self.columns):
            column = read_column(
                own.name,
                [cell[place] for cell in rows],
                examples.names.__getitem__,
                missing=self.missing,
                decimal=self.decimal,
                declared=own.kind,
            )
            if isinstance(own, CategoryColumn):
                codes[:, place] = own.codes(column)
            elif column.kind == "empty":
                numbers[:, place, 1] = 1
            else:
                numbers[:, place, : own.channels] = own.numbers(column)
        return Encoded(numbers, codes)

    def _rows(self, examples: Examples) -> list[list[str]]:
        """The cells of rows in memory as text.

        Raises:
            DataError: a row lacks a column, or has another number of cells.
        """
        names = [column.name for column in self.columns]
        found = []
        for row, name in zip(examples.content, examples.names, strict=True):
            if isinstance(row, Mapping):
                if lacking := [column for column in names if column not in row]:
                    raise DataError(f"{name}: no column '{lacking[0]}'; expected {', '.join(names)}")
                row = [row[column] for column in names]
            if isinstance(row, str) or len(row) != len(names):
                raise DataError(f"{name}: {row!r:.60} is no row of {len(names)} cells: {', '.join(names)}")
            found.append(["" if cell is None else str(cell) for cell in row])
        return found

    def expand(self, encoded: Encoded) -> Tensor:
        """The inputs of encoded cells. Shapes: -> (B, T, 1, C) float32."""
        channels = self.input.channels
        inputs = torch.zeros((*encoded.codes.shape, channels))
        inputs[..., : encoded.numbers.shape[2]] = torch.from_numpy(encoded.numbers)
        codes = torch.from_numpy(encoded.codes)[..., None]
        inputs.scatter_(2, codes, torch.where(codes > 0, 1.0, inputs.gather(2, codes)))
        return inputs[:, :, None]


def _is_text(content: object) -> bool:
    """Whether rows are cells of text, as files give them."""
    if not isinstance(content, np.ndarray) or content.dtype != object or content.ndim != 2:
        return False
    return all(isinstance(cell, str) for cell in content[:1].ravel())


def cells_of(columns: object, names: Sequence[str]) -> NDArray[np.object_]:
    """Cells of some columns by row. Shapes: -> (N, T) of text."""
    assert hasattr(columns, "__getitem__")
    cells = np.empty((len(columns[names[0]]) if names else 0, len(names)), object)
    for place, name in enumerate(names):
        cells[:, place] = columns[name]
    return cells
