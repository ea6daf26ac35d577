"""Reader of CSV tables with one series per column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fptkit.errors import DataError
from fptkit.tasks.reading.columns import read_column
from fptkit.tasks.reading.delimited import read_delimited
from fptkit.tasks.reading.numbers import MISSING
from fptkit.tasks.reading.timing import is_time, time_order
from fptkit.tasks.series.values import Series


@dataclass(frozen=True)
class CsvSeries:
    """Series from the columns of a CSV file.

    Args:
        values: (T, C) values.
        names: names of their columns.
        left_out: names of the columns that were not read.
        notes: about columns that are the time, and rows that were sorted by it.
    """

    values: Series
    names: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_csv(path: Path, columns: Sequence[str] | None) -> CsvSeries:
    """Read series from the columns of a CSV file with a header line.

    Rows are sorted by the first column of dates, if there is one. A column of numbers that is the time itself, such as
    a row number or seconds since 1970, is not a series unless it is named.

    Args:
        path: the file.
        columns: names of the columns to read; None: all columns of numbers that are not the time.

    Raises:
        DataError: the file is not a table, a cell is not a number, a time occurs twice, or a column is missing; with
            line number.
    """
    table = read_delimited(path)
    if absent := [name for name in columns or () if name not in table.columns]:
        raise DataError(f"{path}:1: no column {absent[0]!r}; it has {', '.join(table.columns)}")
    read = {
        name: read_column(
            name, cells, table.where, missing=MISSING, declared="number" if columns and name in columns else None
        )
        for name, cells in table.columns.items()
    }
    dates = [column for column in read.values() if column.kind == "date"]
    order, notes = time_order(dates[0].numbers, table.where, dates[0].name) if dates else (range(len(table)), ())
    numeric = [name for name, column in read.items() if column.kind == "number"]
    ordered = {name: [read[name].numbers[row] for row in order] for name in numeric}
    clocks = [name for name, values in ordered.items() if is_time(name, values)] if columns is None else []
    chosen = [name for name in numeric if name not in clocks] if columns is None else list(columns)
    if not chosen:
        raise DataError(f"{path}: no column of numbers that is not the time; it has {', '.join(table.columns)}")
    values = np.array([read[name].numbers for name in chosen], np.float64).T[list(order)]
    if clocks:
        notes = (*notes, f"columns that rise evenly, or are the time, are not series: {', '.join(clocks)}")
    return CsvSeries(values, tuple(chosen), tuple(name for name in table.columns if name not in chosen), notes)
