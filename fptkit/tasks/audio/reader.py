"""Recordings of class folders, or of a table that lists them, as examples. Light: nothing is decoded here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fptkit.errors import DataError, SourceError
from fptkit.sources.choice import expanded
from fptkit.tasks.audio.options import SOUND, TABLES, AudioOptions
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.listed import listed_files, path_column
from fptkit.tasks.reading.paths import SourceFiles, find_files, inner_folder, places, splits_below
from fptkit.tasks.reading.text import file_type
from fptkit.tasks.table.reader import read_table

FOLDER = "class"
"""Name of the target that class folders give."""


@dataclass(frozen=True)
class Listed:
    """Recordings, with the cells of the table that lists them.

    Args:
        paths: the recordings.
        names: what each is called in messages: its path, or ``TABLE:LINE``.
        cells: cells of the table by column, or the class folder; empty without either.
        notes: what the run header should say.
        table: the table that lists them; None for class folders.
        path: its column of paths.
    """

    paths: Sequence[Path]
    names: Sequence[str]
    cells: Mapping[str, Sequence[str]]
    notes: tuple[str, ...] = ()
    table: TextTable | None = None
    path: str = ""


def files(options: AudioOptions, entry: str) -> Iterable[Path]:
    """The files of an entry of ``source``: recordings, or a table and those it lists; see ``TaskSpec.files``."""
    own = options.split.own and options.split.column is None
    found = find_recordings({"all": (entry,)}, own=own).files
    tables = [path for path in found if is_table(path)]
    listed = [path for table in tables for path in read_listing(table, options.path, options.root).paths]
    return dict.fromkeys([*found, *listed])


def find_recordings(source: Mapping[str, Sequence[str]], *, own: bool = True) -> SourceFiles:
    """Find recordings in folders, and tables that are named.

    A folder that has nothing but one other folder stands for that folder, as after unpacking an archive. Splits may
    also be folders inside the class folders.

    Args:
        source: entries of each split, or of all under ``all``.
        own: whether to look for folders that name splits.

    Raises:
        SourceError: there is no such place, or no recording or table.
        DataError: own splits are ambiguous.
    """
    inner = {
        split: [f"path:{inner_folder(place)}" for entry in some for place in places(entry)]
        for split, some in source.items()
    }
    found = find_files(inner, SOUND, own=own)
    for path in found.files:
        if path.suffix.lower() not in SOUND and not is_table(path):
            known = ", ".join((*SOUND, *TABLES))
            reason = f"{path.name} is neither a recording nor a table by its ending; known are {known}"
            raise SourceError("task.source", [(f"path:{path}", reason)], "Convert it, or name another file.")
    if not own or set(found.splits) != {"all"}:
        return found
    base = found.base
    parts = {path: path.relative_to(base[path]).parts[:-1] if base[path] != path else () for path in found.files}
    return replace(found, splits=splits_below(found.splits["all"], parts) or found.splits)


def lists_recordings(source: Mapping[str, Sequence[str]]) -> bool:
    """Whether a source has a table.

    Raises:
        SourceError: there is nothing at a place.
    """
    return any(is_table(place) for some in source.values() for entry in some for place in places(entry))


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name."""
    return file_type(path) in TABLES


def read_listing(path: Path, column: str | None, root: str | None = None) -> Listed:
    """Read a table that lists recordings.

    Args:
        path: the table.
        column: the column with their paths; None to find it.
        root: the folder that they are relative to; None for the table's.

    Raises:
        DataError: it is not a table, or a recording that it lists does not exist.
        UsageError: it is not clear which column has the paths.
    """
    table = read_table(path)
    folder = path.parent if root is None else expanded(root.removeprefix("path:"))
    column = path_column(table, column, SOUND)
    paths = listed_files(table, column, folder, SOUND)
    names = [table.where(row) for row in range(len(table))]
    return Listed(paths, names, table.columns, (*table.notes, *_unlisted(path, paths)), table, column)


def in_class_folders(found: SourceFiles, paths: Sequence[Path]) -> Listed:
    """Recordings with the name of the folder that they are in, the first one below the source.

    Args:
        found: all files of the source.
        paths: recordings.

    Raises:
        DataError: a recording is in no class folder.
    """
    labels = [class_folder(found, path) for path in paths]
    if None in labels:
        lost, base = paths[labels.index(None)], found.base[paths[labels.index(None)]]
        tables = sorted(path.name for path in found.passed_over if is_table(path))
        tip = f" Or name its table as the source: path:{base / tables[0]}" if tables and base.is_dir() else ""
        raise DataError(
            f"{lost}: the recording is in no class folder; put the recordings of each class in a folder of its own, or "
            f"list them in a table with the columns path and label.{tip}"
        )
    return Listed(paths, [str(path) for path in paths], {FOLDER: [label or "" for label in labels]})


def class_folder(found: SourceFiles, path: Path) -> str | None:
    """Name of the first folder below the source in which a recording is; None if it is directly in it."""
    base = found.base[path]
    if base == path:
        return None
    parts = path.relative_to(base).parts
    return parts[0] if len(parts) > 1 else None


def _unlisted(table: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    """A note about recordings beside those of a table that it does not list."""
    listed = {path.resolve() for path in paths}
    beside = {
        child
        for folder in {path.parent for path in listed}
        for child in folder.iterdir()
        if child.suffix.lower() in SOUND and not child.name.startswith(".")
    }
    count = len(beside - listed)
    return (f"{count:,} recordings next to those of {table.name} are not listed in it",) if count else ()
