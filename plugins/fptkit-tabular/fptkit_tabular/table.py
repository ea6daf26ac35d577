"""Tables in memory, read from CSV or from scikit-learn, and the types of their columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fptkit.errors import UsageError
from fptkit.sources import Unavailable, shown_folder
from fptkit.tasks.reading.columns import read_column
from fptkit.tasks.reading.delimited import read_delimited
from fptkit_tabular.options import TabularOptions


@dataclass(frozen=True)
class Table:
    """A table with its cells as text.

    Args:
        name: name of the file or table, for messages.
        columns: names of the columns.
        rows: cells of each row, one per column, without surrounding white space.
        lines: line number of each row in the file; empty if the table is not from a file.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...] = ()

    def where(self, row: int) -> str:
        """Return the location of a row, for messages."""
        return f"{self.name}:{self.lines[row]}" if self.lines else f"{self.name}, row {row}"

    def cells(self, column: str) -> list[str]:
        """Return the cells of one column."""
        place = self.columns.index(column)
        return [row[place] for row in self.rows]


def open_table(entry: str, options: TabularOptions) -> Table:
    """Read the table of a source ``path:FILE.csv`` or ``sklearn:NAME``.

    Raises:
        Unavailable: there is no such file.
        DataError: the file is not a table.
    """
    kind, _, place = entry.partition(":")
    if kind == "sklearn":
        return _built_in(place)
    path = Path(place).expanduser()
    if not path.is_file():
        raise Unavailable(f"there is no file {shown_folder(path)}")
    return read_table(path, options.delimiter)


def read_table(path: Path, delimiter: str = ",") -> Table:
    """Read a CSV file with column names in its first line, by the rules of fptkit.

    Args:
        path: the file.
        delimiter: character that separates cells.

    Raises:
        DataError: there are no rows, a row has too many or too few cells, or a column name is empty or a duplicate;
            with line number.
    """
    read = read_delimited(path, delimiter)
    return Table(str(path), tuple(read.columns), tuple(zip(*read.columns.values(), strict=True)), tuple(read.lines))


def _built_in(name: str) -> Table:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    columns = (*(str(column).replace(" ", "_") for column in bunch.feature_names), "target")
    # Classes are written by name, numbers as they are.
    classes = getattr(bunch, "target_names", None)
    targets = bunch.target if classes is None else [classes[label] for label in bunch.target]
    rows = tuple(
        (*(repr(float(value)) for value in values), str(target))
        for values, target in zip(bunch.data, targets, strict=True)
    )
    return Table(f"sklearn:{name}", columns, rows)


def check_columns(table: Table, options: TabularOptions) -> None:
    """Check that the table has every column that the options name.

    Raises:
        UsageError: a column is missing.
    """
    wanted = {
        "target": (options.target,),
        "numeric": options.numeric,
        "categorical": options.categorical,
        "ignore": options.ignore,
    }
    for option, names in wanted.items():
        for name in names:
            if name not in table.columns:
                raise UsageError(
                    f"tabular: {option}: {table.name} has no column '{name}'; it has {', '.join(table.columns)}"
                )


def parse_numbers(table: Table, column: str, missing: Sequence[str]) -> list[float]:
    """Return the numbers of a column, NaN for missing ones.

    Args:
        table: the table.
        column: name of the column.
        missing: cells that mean a missing value.

    Raises:
        DataError: a cell is neither missing nor a finite number; with line number.
    """
    read = read_column(column, table.cells(column), table.where, missing=missing, declared="number")
    return list(read.numbers) or [math.nan] * len(table.rows)


def is_numeric(table: Table, column: str, options: TabularOptions) -> bool:
    """Return whether a column is numeric: as declared, otherwise if all cells that are not missing are numbers.

    Raises:
        DataError: most of them are numbers, and some are not; with line number.
    """
    if column in options.numeric or column in options.categorical:
        return column in options.numeric
    return read_column(column, table.cells(column), table.where, missing=options.missing).kind == "number"
