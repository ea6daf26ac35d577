"""Readers of plain tables: ``.tsv`` of the UCR archive (one series per line) and CSV (one series per column)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fptkit.errors import DataError
from fptkit.tasks.reading.columns import read_column
from fptkit.tasks.reading.delimited import read_delimited
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.numbers import MISSING
from fptkit.tasks.reading.text import lines_of
from fptkit.tasks.reading.timing import is_time, time_order
from fptkit_timeseries.series import Series, SeriesFile, without_missing_end
from fptkit_timeseries.ts_file import read_number


def read_tsv(path: Path) -> SeriesFile:
    """Read a ``.tsv`` file of the UCR archive: each line has the class, then the values of one channel.

    The ``NaN`` values with which the archive pads shorter series are removed.

    Raises:
        DataError: a line is malformed; with line number.

    Source: Dau et al. 2019, UCR archive 2018, "briefing document": class first, tab-separated, NaN for missing.
    """
    series: list[Series] = []
    labels: list[str] = []
    lines: list[int] = []
    expected = 0
    for number, line in lines_of(path):
        where = f"{path}:{number}"
        label, *words = line.rstrip().split("\t")
        if not label.strip() or not words:
            raise DataError(f"{where}: expected a class and values, tab-separated, got {line[:40]!r}")
        expected = expected or len(words)
        if len(words) != expected:
            raise DataError(f"{where}: {len(words)} values, but line {lines[0]} has {expected}; pad with NaN")
        values = without_missing_end(np.array([[read_number(word, where)] for word in words], np.float64))
        if not len(values):
            raise DataError(f"{where}: every value of the series is missing")
        series.append(values)
        labels.append(same_label(label))
        lines.append(number)
    if not series:
        raise DataError(f"{path}: the file is empty")
    return SeriesFile(tuple(series), tuple(labels), tuple(lines))


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
