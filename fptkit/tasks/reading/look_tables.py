"""A first look at tables: kinds of columns, which one may be the target. Shared by the formats that read tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from fptkit.errors import DataError
from fptkit.sources.identity import is_metadata
from fptkit.tasks.reading.columns import IDENTIFIER_SHARE, Column, read_column
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.json_lines import ENDINGS as RECORDS
from fptkit.tasks.reading.json_lines import read_json_records
from fptkit.tasks.reading.labels import same_label, shown
from fptkit.tasks.reading.look import Choice, classes_seen
from fptkit.tasks.reading.numbers import MISSING
from fptkit.tasks.reading.paths import split_of
from fptkit.tasks.reading.text import file_type
from fptkit.tasks.reading.usual import TARGETS
from fptkit.tasks.table.reader import read_table

TABLES = (".csv", ".tsv", ".tab", ".txt", ".parquet")
"""Endings of tables."""

MOST_CLASSES = 20
"""Different values above which a column without a usual name is not taken for a class."""

_FEW_ROWS, _MOST_TABLES = 20, 5
_IDS = re.compile(r"(?i:(.*[_ ])?(id|index|idx|uuid|guid|key|no|nr|number|row)|unnamed.*)|.*[a-z]I[dD]")


@dataclass(frozen=True)
class Seen:
    """A table and the kinds of its columns.

    Args:
        table: the table.
        columns: the columns by name; one that does not follow the rules is one of categories.
        odd: what is wrong with each column that does not follow the rules, by name.
        decimal: decimal mark of the numbers.
    """

    table: TextTable
    columns: Mapping[str, Column]
    odd: Mapping[str, str]
    decimal: str = "."

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.table)

    def of_kind(self, *kinds: str) -> list[str]:
        """Names of the columns of some kinds."""
        return [name for name, column in self.columns.items() if column.kind in kinds]

    def filled(self, name: str) -> list[str]:
        """The cells of a column that are not missing."""
        return [cell for cell in self.columns[name].cells if cell]

    def is_identifier(self, name: str) -> bool:
        """Whether a column has about as many categories as rows, or has the name of one and no value twice."""
        if name in self.odd:
            return False
        column, filled = self.columns[name], len(self.filled(name))
        if column.kind == "category":
            return filled >= _FEW_ROWS and column.distinct >= IDENTIFIER_SHARE * filled
        whole = column.kind == "number" and all(number == int(number) for number in column.numbers if number == number)
        return whole and column.distinct == filled > 1 and bool(_IDS.fullmatch(name.strip()))


@lru_cache(maxsize=2)
def see_table(path: Path) -> Seen:
    """Read a table or JSON records, and find the kinds of the columns; the last ones are remembered.

    Raises:
        DataError: it cannot be read.
        UsageError: its format needs a package that is not installed.
    """
    table = read_json_records(path) if file_type(path) in RECORDS else read_table(path)
    seen = _kinds(table, ".")
    if seen.odd:
        other = _kinds(table, ",")
        if len(other.odd) < len(seen.odd) and len(other.of_kind("number")) > len(seen.of_kind("number")):
            return other
    return seen


def _kinds(table: TextTable, decimal: str) -> Seen:
    columns: dict[str, Column] = {}
    odd: dict[str, str] = {}
    for name, cells in table.columns.items():
        read = partial(read_column, name, cells, table.where, missing=MISSING, decimal=decimal)
        try:
            columns[name] = read(declared=table.kinds.get(name))  # type: ignore[arg-type]
        except DataError as err:
            odd[name] = str(err)
            columns[name] = read(declared="category")
    return Seen(table, columns, odd, decimal)


def split_column(seen: Seen) -> str | None:
    """The column whose cells name splits, train and others; None if there is none."""
    for name in seen.of_kind("category"):
        cells = set(seen.columns[name].cells)
        if len(cells) > 1 and all(map(split_of, cells)) and "train" in map(split_of, cells):
            return name
    return None


def reading_options(seen: Seen) -> dict[str, Choice]:
    """The options ``split`` and ``decimal``, if a column names splits, or numbers have decimal commas."""
    column = split_column(seen)
    options = {} if seen.decimal == "." else {"decimal": Choice(seen.decimal)}
    return {**options, "split": Choice({"column": column}, "its cells name the splits")} if column else options


def columns_seen(seen: Seen) -> tuple[str, ...]:
    """Lines about the columns, by kind."""
    lines = [f"rows: {seen.rows:,}; columns: {len(seen.columns):,}"]
    for kind, what in (("number", "numbers"), ("category", "categories"), ("date", "dates"), ("empty", "nothing")):
        names = seen.of_kind(kind)
        if kind == "category":
            names = [f"{name} ({seen.columns[name].distinct:,})" for name in names]
        if names:
            lines.append(f"columns of {what}: {shown(names)}")
    return tuple(lines)


@dataclass(frozen=True)
class Guess:
    """Which columns are predicted.

    Args:
        names: the columns; empty if that is not clear.
        choice: for the recipe.
        seen: a line about the target.
        lacking: what the user must say; empty if nothing.
    """

    names: tuple[str, ...] = ()
    choice: Choice | None = None
    seen: tuple[str, ...] = ()
    lacking: str = ""


def guess_target(seen: Seen, labels: Sequence[str], aside: Collection[str] = ()) -> Guess:
    """Find what is predicted: what the user says, else a usual name, else the only column that can be a class.

    Args:
        seen: the table.
        labels: columns that the user names; may be empty.
        aside: columns that are something else, such as texts or paths.

    Raises:
        DataError: the table lacks a column that the user names.
    """
    for name in labels:
        seen.table.need(name, "--labels")
    taken = (*aside, split_column(seen))
    rest = [name for name in seen.columns if name not in taken and seen.columns[name].kind != "empty"]
    names, comment = (tuple(labels), "") if labels else _likely(seen, rest)
    if not names:
        return Guess(lacking=_unclear(seen, rest))
    value = names[0] if len(names) == 1 else list(names)
    choice = Choice(value, comment, doubtful=bool(comment))
    return Guess(names, choice, tuple(_target_seen(seen, name) for name in names))


def _likely(seen: Seen, rest: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The column to predict and a comment, if another one is possible."""
    known = {name.lower().replace(" ", "_").replace("-", "_"): name for name in rest}
    usual = [known[name] for name in TARGETS if name in known and not seen.is_identifier(known[name])]
    fitting = [name for name in rest if _may_be_class(seen, name)]
    if usual:
        others = [name for name in usual[1:] if name in fitting]
        return (usual[0],), f"or {shown(others)}" if others else ""
    if len(rest) == 1 and not seen.is_identifier(rest[0]):
        return (rest[0],), ""
    for name in (fitting[0] if len(fitting) == 1 else "", rest[-1] if rest else "", rest[0] if rest else ""):
        if name in fitting:
            why = "the only column of few different values" if len(fitting) == 1 else "no column has a usual name"
            others = [each for each in fitting if each != name] or [each for each in rest if each != name]
            return (name,), f"{why}; it may be another: {shown(others)}"
    return (), ""


def _may_be_class(seen: Seen, name: str) -> bool:
    """Whether a column has few different values, each of them at least twice, and none is missing."""
    column = seen.columns[name]
    counts = Counter(map(same_label, filter(None, column.cells)))
    whole = all(re.fullmatch("-?[0-9]+", each) for each in counts) if column.kind == "number" else True
    full = sum(counts.values()) == seen.rows
    return (
        column.kind in ("category", "number")
        and whole
        and full
        and 2 <= len(counts) <= MOST_CLASSES
        and (min(counts.values()) >= 2)
    )


def _unclear(seen: Seen, rest: Sequence[str]) -> str:
    if not rest:
        return f"{seen.table.name} has no column that could be predicted"
    columns = ", ".join(
        f"{name} ({seen.columns[name].kind}, {seen.columns[name].distinct:,} values)" for name in rest[:20]
    )
    more = f" and {len(rest) - 20:,} more" if len(rest) > 20 else ""
    return f"which column of {seen.table.name} is to be predicted? Name it: --labels COLUMN, of {columns}{more}"


def _target_seen(seen: Seen, name: str) -> str:
    column = seen.columns[name]
    if column.kind == "number" and not _may_be_class(seen, name):
        return f"target {name}: {column.distinct:,} different numbers"
    return f"target {name}: {classes_seen(seen.filled(name))}"


@dataclass(frozen=True)
class Listing:
    """A table that lists files.

    Args:
        path: the table.
        seen: its columns.
        column: the column of paths.
        root: the folder that the paths start from; None if it is not found.
    """

    path: Path
    seen: Seen
    column: str
    root: Path | None


def find_listing(place: Path, endings: Collection[str]) -> Listing | None:
    """The table at a place that lists files with one of some endings; None if there is none.

    Args:
        place: a table, or a folder that has one.
        endings: endings of the files, in lower case.

    Raises:
        DataError: a table cannot be read.
    """
    tables = (".csv", ".tsv", ".tab", ".parquet")
    inside = [place] if place.is_file() else sorted(child for child in place.iterdir() if not is_metadata(child))
    for path in [child for child in inside if child.is_file() and file_type(child) in tables][:_MOST_TABLES]:
        seen = see_table(path)
        for name, column in seen.columns.items():
            some = [cell for cell in column.cells if cell][:_FEW_ROWS]
            if some and all(Path(cell.replace("\\", "/")).suffix.lower() in endings for cell in some):
                return Listing(path, seen, name, _root(path.parent, some[0]))
    return None


def _root(folder: Path, cell: str) -> Path | None:
    """The folder that a path of a table starts from: that of the table, or one in it."""
    for base in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
        if any((base / text).is_file() for text in (cell, cell.replace("\\", "/"))):
            return base
    return None
