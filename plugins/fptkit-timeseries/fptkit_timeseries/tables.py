"""Readers of plain tables: ``.tsv`` of the UCR archive (one series per line) and CSV (one series per column)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fptkit.errors import DataError
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
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
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
        labels.append(label.strip())
        lines.append(number)
    if not series:
        raise DataError(f"{path}: the file is empty")
    return SeriesFile(tuple(series), tuple(labels), tuple(lines))


def read_csv(path: Path, columns: Sequence[str] | None) -> tuple[Series, tuple[str, ...], tuple[str, ...]]:
    """Read series from the columns of a CSV file with a header line; empty cells and ``?`` are missing values.

    Args:
        path: the file.
        columns: names of the columns to read; None: all columns in which the first filled cell is a number.

    Returns:
        Values (T, C), the names of their columns, and the names of the columns that were not read.

    Raises:
        DataError: a line has too many or too few cells, a cell is not a number, or a column is missing; with line
            number.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        try:
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as err:
            raise DataError(f"{path}:{reader.line_num}: {err}") from err
    if not rows:
        raise DataError(f"{path}: expected a line of column names, then lines of values; got {len(header)} columns")
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise DataError(f"{path}:1: duplicate column {twice[0]!r}")
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}:{line}: {len(row)} cells, but the first line has {len(header)} columns")
    if columns is None:
        chosen = [name for place, name in enumerate(header) if _begins_with_a_number([row[place] for _, row in rows])]
        if not chosen:
            raise DataError(f"{path}: no numeric columns; it has {', '.join(header)}")
    else:
        if absent := [name for name in columns if name not in header]:
            raise DataError(f"{path}:1: no column {absent[0]!r}; it has {', '.join(header)}")
        chosen = list(columns)
    places = [header.index(name) for name in chosen]
    values = [
        [read_number(row[place].strip() or "?", f"{path}:{line}, column {header[place]!r}") for place in places]
        for line, row in rows
    ]
    return np.array(values, np.float64), tuple(chosen), tuple(name for name in header if name not in chosen)


def _begins_with_a_number(cells: Sequence[str]) -> bool:
    filled = next((cell.strip() for cell in cells if cell.strip() not in ("", "?")), "")
    try:
        float(filled)
    except ValueError:
        return False
    return True
