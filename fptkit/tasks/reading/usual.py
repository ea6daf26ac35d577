"""Columns that are found by their usual names, and files of the first format that a source has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fptkit.errors import SourceError, UsageError
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.paths import SourceFiles, find_files

TARGETS = (
    *("label", "labels", "class", "classes", "target", "targets", "category", "y", "tag", "tags", "sentiment"),
    *("class_label", "fold_label", "fold", "family", "label_text", "output"),
)
"""Usual names of a column to predict, best first."""


def usual_column(columns: Collection[str], names: Sequence[str], option: str, where: str, what: str) -> str:
    """The column that has one of the usual names, in any case; else the only column there is.

    Args:
        columns: the columns to choose from.
        names: usual names, best first.
        option: the option that names the column, for the message.
        where: the file, for the message.
        what: what the column has, for the message.

    Raises:
        UsageError: no column has such a name, and there are several or none.
    """
    known = {column.lower().replace(" ", "_"): column for column in columns}
    for name in names:
        if name in known:
            return known[name]
    if len(columns) == 1:
        return next(iter(columns))
    there = f"its columns are {shown(sorted(columns))}" if columns else "it has no other columns"
    raise UsageError(f"{option}: {where} has no column that is known to be {what}; {there}. Name one by {option}")


def target_columns(
    columns: Collection[str], wanted: Sequence[str], others: Collection[str | None], where: str
) -> tuple[str, ...]:
    """The columns to predict: those that ``task.target`` names, else the one with a usual name, else the only one left.

    Args:
        columns: all columns of the table.
        wanted: the columns that ``task.target`` names; may be empty.
        others: columns that are something else, such as paths or groups.
        where: the table, for messages.

    Raises:
        UsageError: a named column does not exist, or none is named and it is not clear which one is meant.
    """
    if lacking := [name for name in wanted if name not in columns]:
        raise UsageError(f"task.target: {where} has no column '{lacking[0]}'; it has {shown(list(columns))}")
    if wanted:
        return tuple(wanted)
    left = [name for name in columns if name not in others]
    return (usual_column(left, TARGETS, "task.target", where, "labels"),)


def find_first(source: Mapping[str, Sequence[str]], kinds: Sequence[Sequence[str]], *, own: bool = True) -> SourceFiles:
    """The files of a source, of the first kind that it has; files of the other kinds are passed over.

    Args:
        source: entries by split, see `fptkit.tasks.reading.paths.find_files`.
        kinds: file endings of each kind, best first.
        own: whether to look for own splits.

    Raises:
        SourceError: the source has no file of any kind.
        DataError: a folder's own splits are ambiguous.
    """
    for endings in kinds[:-1]:
        try:
            return find_files(source, endings, own=own)
        except SourceError:
            continue
    try:
        return find_files(source, kinds[-1], own=own)
    except SourceError:
        return find_files(source, [ending for endings in kinds for ending in endings], own=own)  # names them all
