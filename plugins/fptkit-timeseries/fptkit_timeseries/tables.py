"""Readers of plain tables: ``.tsv`` of the UCR archive (a series a line) and CSV (a series a column)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fptkit.errors import DataError
from fptkit_timeseries.series import Series, SeriesFile, without_missing_end
from fptkit_timeseries.ts_file import read_number


def read_tsv(path: Path) -> SeriesFile:
    """Read a ``.tsv`` file of the UCR archive: on each line the class, then the values of one channel.

    Shorter series are filled up with ``NaN`` there, which is cut off here.

    Raises:
        DataError: a line is no such series; with its number.

    Source: Dau et al. 2019, UCR archive 2018, "briefing document": class first, tabs between, NaN for missing.
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
            raise DataError(f"{where}: expected a class and values with tabs between, found {line[:40]!r}")
        expected = expected or len(words)
        if len(words) != expected:
            raise DataError(f"{where}: {len(words)} values, but line {lines[0]} has {expected}; fill up with NaN")
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
    """Read series that stand in the columns of a CSV file with a header line; empty cells and ``?`` are missing.

    Args:
        path: the file.
        columns: those wanted, None for all whose first filled cell is a number.

    Returns:
        Values (T, C), the names of their columns, and the names of the columns left out.

    Raises:
        DataError: a line has too many or too few cells, a cell of a series is no number, a column is not there; with
            the line.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        try:
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as err:
            raise DataError(f"{path}:{reader.line_num}: {err}") from err
    if not rows:
        raise DataError(f"{path}: a line of column names and lines of values are needed, found {len(header)} columns")
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise DataError(f"{path}:1: column {twice[0]!r} is there twice")
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}:{line}: {len(row)} cells, but the first line names {len(header)} columns")
    if columns is None:
        chosen = [name for place, name in enumerate(header) if _begins_with_a_number([row[place] for _, row in rows])]
        if not chosen:
            raise DataError(f"{path}: no column holds numbers; it has {', '.join(header)}")
    else:
        if absent := [name for name in columns if name not in header]:
            raise DataError(f"{path}:1: there is no column {absent[0]!r}; it has {', '.join(header)}")
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
