"""Tables of text: CSV, TSV and the like, with column names in the first line."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fptkit.errors import DataError
from fptkit.sources.decoding import decoded, decoding
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.numbers import parse_number
from fptkit.tasks.reading.text import check_text, file_type, open_text
from fptkit.tasks.reading.timing import FEWEST

DELIMITERS = (",", ";", "\t", "|")
"""Characters that are tried, best first."""

UNLABELLED = "if this file has no labels, name the training file alone as the source and set split: {own: false}"
"""Advice about a split without labels, such as the test file of a competition."""

_QUOTES = (
    'if quotes are plain text in this file, write each as "" in a cell in quotes (pandas: read_csv(FILE, quoting=3, '
    "sep=...), then to_csv)"
)

_SAMPLE = 50
"""Lines from which the delimiter is found."""


@dataclass(frozen=True)
class TextTable:
    """A table by columns, its cells as text without surrounding white space.

    Args:
        name: name of the file, for messages.
        columns: the cells of each column, by name; every column has as many.
        lines: line of the file in which each row begins; empty if the file has no lines.
        kinds: kinds of the columns whose file declares a type, ``number``, ``category`` or ``date``.
        notes: what was left out.
    """

    name: str
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def where(self, row: int) -> str:
        """The place of a row, for messages: ``FILE:LINE``, or ``FILE, row N`` from 1."""
        return f"{self.name}:{self.lines[row]}" if self.lines else f"{self.name}, row {row + 1}"

    def need(self, column: str, option: str) -> None:
        """Check that a column exists.

        Args:
            column: its name.
            option: the option that names it, for the message.

        Raises:
            DataError: there is no such column.
        """
        if column not in self.columns:
            raise DataError(
                f"{option}: {self.name} has no column '{column}'; it has {shown(list(self.columns))}. "
                "Check the name, and the option delimiter; if the first line is data, set header: false"
                + (f"; {UNLABELLED}" if option == "task.target" else "")
            )


def read_delimited(path: Path, delimiter: str | None = None, *, header: bool = True) -> TextTable:
    """Read a CSV or TSV file, packed or not. Cells may be quoted by ``"``; blank lines are skipped.

    A first line ``sep=;``, which Excel writes, names the delimiter. Without a given one it is a tab for ``.tsv`` and
    ``.tab``, otherwise the one of ``, ; tab |`` by which all of the first lines have the same number of cells.

    Args:
        path: the file.
        delimiter: the character between cells; None to find it.
        header: whether the first line has the column names; else they are ``1``, ``2``, ...

    Raises:
        DataError: it is not text or has no rows; a row has more or fewer cells than the first line; quotes are not
            closed, or have whole rows between them; the line of column names is repeated; a column
            name is empty or occurs twice, or all of them are numbers.
    """
    with open_text(path) as file, _long_cells():
        head = list(itertools.islice(file, _SAMPLE))
        check_text("".join(head), str(path))
        skipped, declared = _separator_line(head)
        delimiter = delimiter or declared or _find_delimiter(path, head[skipped:])
        rows = _rows(path, itertools.chain(head[skipped:], file), delimiter, skipped)
        return _table(path, rows, delimiter, header=header)


def _separator_line(head: Sequence[str]) -> tuple[int, str | None]:
    """Number of lines to skip, and the delimiter that the first line declares."""
    found = re.fullmatch(r'"?sep=(.|\\t)"?\s*', head[0]) if head else None
    return (1, "\t" if found[1] == "\\t" else found[1]) if found else (0, None)


def _find_delimiter(path: Path, head: Sequence[str]) -> str:
    if file_type(path) in (".tsv", ".tab"):
        return "\t"
    best, most = ",", 1
    for delimiter in DELIMITERS:
        with contextlib.suppress(DataError), decoding(str(path), "a table"):
            counts = {len(row) for row in csv.reader(head, delimiter=delimiter, skipinitialspace=True) if row}
            if len(counts) == 1 and (count := counts.pop()) > most:
                best, most = delimiter, count
    if most == 1 and head:  # rows of different lengths: the error below then shows the line
        best = max(DELIMITERS, key=lambda delimiter: head[0].count(delimiter))
    return best


def _rows(path: Path, lines: Iterator[str], delimiter: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the stripped cells of each record that is not blank."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
    begin = skipped + 1
    try:
        for row in decoded(reader, path, "a table"):
            cells = [cell.strip() for cell in row]
            if any(cells) or len(cells) > 1:
                yield begin, cells
            begin = skipped + reader.line_num + 1
    except DataError as err:
        if not isinstance(err.__cause__, csv.Error):
            raise
        text = "a quoted cell is never closed" if "unexpected end" in str(err) else str(err.__cause__)
        raise DataError(f"{path}:{begin}: {text}; check the quotes, and the option delimiter; {_QUOTES}") from err


def _table(path: Path, rows: Iterator[tuple[int, list[str]]], delimiter: str, *, header: bool) -> TextTable:
    first_line, first = next(rows, (1, []))
    if header:
        names = first
    else:
        names = [str(number + 1) for number in range(len(first))]
        rows = itertools.chain([(first_line, first)], rows)
    lines, records = [], []
    for line, cells in rows:
        lines.append(line)
        records.append(cells)
    if not records:
        raise DataError(f"{path}: no rows; expected a line of column names, then rows")
    notes = _without_blank_end(path, lines, records)
    if header and all(len(cells) == len(names) + 1 for cells in records):
        names = _with_one_more(names, records)
    for line, cells in zip(lines, records, strict=True):
        _check_row(path, line, cells, (first_line, names), delimiter)
    columns = list(map(list, zip(*records, strict=True)))
    names, columns, named = _named(path, first_line, names, columns)
    return TextTable(str(path), dict(zip(names, columns, strict=True)), lines, notes=(*notes, *named))


def _without_blank_end(path: Path, lines: list[int], records: list[list[str]]) -> tuple[str, ...]:
    """Remove rows of empty cells at the end, as spreadsheets write them; return a note. Elsewhere they are steps."""
    count = len(records)
    while len(records) > 1 and not any(records[-1]):
        records.pop()
        lines.pop()
    blank = count - len(records)
    return (f"{path.name}: {blank:,} rows of empty cells at the end are not used",) if blank else ()


def _with_one_more(names: list[str], records: Sequence[Sequence[str]]) -> list[str]:
    """The column names if every row has a cell more: a delimiter at its end, or the names of rows in R's
    ``write.table``, which have no column name."""
    if not any(cells[-1] for cells in records):
        return [*names, ""]
    return ["", *names] if _name_rows([cells[0] for cells in records]) else names


def _name_rows(cells: Sequence[str]) -> bool:
    """Whether cells without a column name name the rows: all different, and text, or row numbers in any order."""
    if len(cells) < 2 or len(set(cells)) < len(cells) or not all(cells):
        return False
    if not any(parse_number(cell) is not None for cell in cells):
        return True
    counted = [str(number) for number in range(len(cells) + 1)]
    return all(map(str.isdecimal, cells)) and (len(cells) >= FEWEST or list(cells) in (counted[1:], counted[:-1]))


def _check_row(path: Path, line: int, cells: list[str], first: tuple[int, list[str]], delimiter: str) -> None:
    """Check the number of cells, and that no quote swallowed lines of a file whose quotes are text.

    Raises:
        DataError: the row has more or fewer cells than the first, or a cell has whole rows.
    """
    first_line, names = first
    if len(cells) != len(names):
        shown_mark = "tab" if delimiter == "\t" else repr(delimiter)
        raise DataError(
            f"{path}:{line}: {len(cells)} cells, line {first_line} has {len(names)}, separated by {shown_mark}; "
            "correct the row, quote cells that contain the delimiter, or set the option delimiter"
        )
    if len(names) > 1 and cells == names and not all(map(str.isdecimal, names)):  # without a header they count
        raise DataError(f"{path}:{line}: the column names of line {first_line} again (joined files?); remove the line")
    if len(names) > 1 and delimiter == "\t" and any("\n" in cell and "\t" in cell for cell in cells):
        raise DataError(
            f"{path}:{line}: a cell that begins with a quote holds whole lines with tabs up to the next quote; "
            f"{_QUOTES}"
        )


def _named(
    path: Path, line: int, names: list[str], columns: list[list[str]]
) -> tuple[list[str], list[list[str]], tuple[str, ...]]:
    """Check the column names; left out are the names of rows, and empty columns without a name, from a delimiter at the
    end of lines."""
    unused = [place for place, name in enumerate(names) if not name and not any(columns[place])]
    notes: tuple[str, ...] = ()
    if unused:
        notes = (f"{len(unused)} columns without name and content are not used",)
    if len(names) > 1 and names[0] in ("", "Unnamed: 0") and 0 not in unused and _name_rows(columns[0]):
        unused.append(0)
        notes += (f"{path.name}: the first column, {names[0] or 'without a name'}, has row names and is not used",)
    columns = [column for place, column in enumerate(columns) if place not in unused]
    names = [name for place, name in enumerate(names) if place not in unused]
    if "" in names:
        raise DataError(
            f"{path}:{line}: column {names.index('') + 1} has no name. If it has row names, write the file "
            "without them (pandas: index=False, R: row.names=FALSE); otherwise name it"
        )
    if doubled := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}:{line}: two columns have the name '{doubled[0]}'; rename one")
    if len(names) > 1 and all(parse_number(name) is not None for name in names) and names[0] != "1":
        raise DataError(
            f"{path}:{line}: the first line has numbers ({shown(names)}) instead of column names; add a line of names"
        )
    return names, columns, notes


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """Allow cells of any length, such as sequences; the limit is a global of Python's csv module."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
