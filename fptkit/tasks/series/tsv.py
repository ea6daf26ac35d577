"""Reader of the plain text format of the UCR archive: one series per line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fptkit.errors import DataError
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.numbers import MISSING, parse_number
from fptkit.tasks.reading.text import file_type, lines_of
from fptkit.tasks.series.ts_file import read_numbers
from fptkit.tasks.series.values import Series, SeriesFile, without_missing_end


def looks_like_ucr(path: Path) -> bool:
    """Whether the first line of a text file has a class and values, and not column names.

    Column names that count the steps, ``label 0 1 2``, are not values.

    Raises:
        DataError: the file is not text.
    """
    _, line = next(lines_of(path), (0, ""))
    words = _cells(path, line)[1:]
    if not words or not all(word in MISSING or parse_number(word) is not None for word in words):
        return False
    first = parse_number(words[0])
    return first not in (0, 1) or words != [str(int(first) + place) for place in range(len(words))]


def _cells(path: Path, line: str) -> list[str]:
    """The cells of a line: separated by tabs, in a file ``.txt`` by any white space."""
    if file_type(path) == ".txt" and "\t" not in line:
        return line.split()
    return [cell.strip() for cell in line.rstrip().split("\t")]


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
        label, *words = _cells(path, line)
        if not label or not words:
            raise DataError(f"{where}: expected a class and values, tab-separated, got {line[:40]!r}")
        expected = expected or len(words)
        if len(words) != expected:
            raise DataError(f"{where}: {len(words)} values, but line {lines[0]} has {expected}; pad with NaN")
        values = without_missing_end(np.array(read_numbers(words, where), np.float64)[:, None])
        if not len(values):
            raise DataError(f"{where}: every value of the series is missing")
        series.append(values)
        labels.append(same_label(label))
        lines.append(number)
    if not series:
        raise DataError(f"{path}: the file is empty")
    return SeriesFile(tuple(series), tuple(labels), tuple(lines))
