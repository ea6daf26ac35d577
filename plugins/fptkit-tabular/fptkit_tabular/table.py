"""A table in memory, read from CSV or from scikit-learn, and what its columns hold."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fptkit.errors import DataError, UsageError
from fptkit.sources import Unavailable, shown_folder
from fptkit_tabular.options import TabularOptions


@dataclass(frozen=True)
class Table:
    """Cells as written.

    Args:
        name: of the file or table, for messages.
        columns: names of the columns.
        rows: cells of each row, as many as columns, without white space around them.
        lines: line of each row in the file; empty where it is none.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...] = ()

    def where(self, row: int) -> str:
        """A row as messages name it."""
        return f"{self.name}:{self.lines[row]}" if self.lines else f"{self.name}, row {row}"

    def cells(self, column: str) -> list[str]:
        """The cells of one column."""
        place = self.columns.index(column)
        return [row[place] for row in self.rows]


def open_table(entry: str, options: TabularOptions) -> Table:
    """The table of an entry ``path:FILE.csv`` or ``sklearn:NAME``.

    Raises:
        Unavailable: there is no such file.
        DataError: the file is no table.
    """
    kind, _, place = entry.partition(":")
    if kind == "sklearn":
        return _built_in(place)
    path = Path(place).expanduser()
    if not path.is_file():
        raise Unavailable(f"there is no file {shown_folder(path)}")
    return read_table(path, options.delimiter)


def read_table(path: Path, delimiter: str = ",") -> Table:
    """Read a CSV file whose first line names the columns.

    Raises:
        DataError: it has no rows, a row has too many or too few cells, a name is empty or there twice; with the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            columns = tuple(cell.strip() for cell in next(reader, []))
            rows = [(reader.line_num, tuple(cell.strip() for cell in row)) for row in reader if row]
    except csv.Error as err:
        raise DataError(f"{path}:{reader.line_num}: {err}") from err
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: not UTF-8 text: {err}") from err
    for name in columns:
        if not name or columns.count(name) > 1:
            raise DataError(f"{path}:1: " + (f"column {name!r} is there twice" if name else "a column has no name"))
    if not rows:
        raise DataError(f"{path}: a line of column names and rows are needed, found {len(columns)} columns and no row")
    for line, row in rows:
        if len(row) != len(columns):
            raise DataError(
                f"{path}:{line}: {len(row)} cells, but the first line names {len(columns)} columns; "
                "is the option delimiter right?"
            )
    return Table(str(path), columns, tuple(row for _, row in rows), tuple(line for line, _ in rows))


def _built_in(name: str) -> Table:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    columns = (*(str(column).replace(" ", "_") for column in bunch.feature_names), "target")
    # A class is shown by its name, a number as it is.
    classes = getattr(bunch, "target_names", None)
    targets = bunch.target if classes is None else [classes[label] for label in bunch.target]
    rows = tuple(
        (*(repr(float(value)) for value in values), str(target))
        for values, target in zip(bunch.data, targets, strict=True)
    )
    return Table(f"sklearn:{name}", columns, rows)


def check_columns(table: Table, options: TabularOptions) -> None:
    """Make sure that every column the options name is there.

    Raises:
        UsageError: one is not.
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
                    f"tabular: {option} names the column '{name}', but {table.name} has {', '.join(table.columns)}"
                )


def parse_numbers(table: Table, column: str, missing: Sequence[str]) -> list[float]:
    """The numbers of a column, NaN for missing ones.

    Raises:
        DataError: a cell is neither, or not finite; with its line.
    """
    numbers = []
    for row, cell in enumerate(table.cells(column)):
        number = math.nan if cell in missing else as_number(cell)
        if number is None:
            raise DataError(
                f"{table.where(row)}: column '{column}' holds numbers, but here {cell!r}; correct the cell, add it to "
                "the option missing, or name the column in the option categorical"
            )
        numbers.append(number)
    return numbers


def as_number(cell: str) -> float | None:
    """A finite number, or None where the cell is none."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def is_numeric(table: Table, column: str, options: TabularOptions) -> bool:
    """Whether a column holds numbers: as declared, else when the first cell that is not missing is one.

    A later cell that is none is then an error and does not quietly make categories of all the numbers.
    """
    if column in options.numeric or column in options.categorical:
        return column in options.numeric
    filled = next((cell for cell in table.cells(column) if cell not in options.missing), None)
    return filled is not None and as_number(filled) is not None
