"""Files that a table lists: a row for each, with its path and its labels."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel

from fptkit.errors import DataError, UsageError
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.numbers import short

PATH_COLUMNS = (
    *("path", "file", "file_name", "filename", "filepath", "file_path", "fname"),
    *("image", "image_path", "image_id", "audio", "audio_path", "wav"),
)
"""Names that a column of paths usually has, in lower case; `Path` and `file name` count as well."""


def path_column(table: TextTable, named: str | None, endings: Sequence[str], option: str = "task.path") -> str:
    """The column of a table that has the paths: by its name, or since all of its cells end like such files.

    Args:
        table: the table.
        named: its name, if the user gives it.
        endings: endings of the files, in lower case.
        option: the option that names the column, for messages.

    Raises:
        DataError: there is no column of this name.
        UsageError: none is named, and none or several may have the paths.
    """
    if named is not None:
        table.need(named, option)
        return named
    usual = [name for name in table.columns if name.lower().replace(" ", "_").replace("-", "_") in PATH_COLUMNS]
    alike = [name for name, cells in table.columns.items() if cells and all(map(_ends_in(endings), cells))]
    for found in ([name for name in alike if name in usual], alike, usual):
        if len(found) == 1:
            return found[0]
    several = alike or usual
    which = (
        f"several columns may have the paths ({', '.join(several)})" if several else "no column is known to have paths"
    )
    raise UsageError(f"{option}: {table.name}: {which}; name it. The columns are {shown(list(table.columns))}")


def _ends_in(endings: Sequence[str]) -> Callable[[str], bool]:
    return lambda cell: cell.lower().endswith(tuple(endings))


def listed_files(table: TextTable, column: str, folder: Path, endings: Sequence[str]) -> list[Path]:
    """The file of each row.

    A path is relative to a folder, or absolute. ``\\`` separates folders if no file has it in its name, and an ending
    may be left out if only one file has this name. Accents may be composed or not.

    Args:
        table: the table.
        column: its column of paths.
        folder: the folder that relative paths start from.
        endings: endings that may be left out.

    Raises:
        DataError: a cell is empty or an address, or there is no such file.
    """
    found: list[Path] = []
    lacking: list[tuple[int, str]] = []
    for row, cell in enumerate(table.columns[column]):
        if not cell:
            raise DataError(f"{table.where(row)}: column '{column}' has no path; fill it in or remove the row")
        if "://" in cell:
            raise DataError(f"{table.where(row)}: {short(cell)} is an address, not a path; fetch the files first")
        file = _file(folder, cell, endings)
        if file is None:
            lacking.append((row, cell))
        else:
            found.append(file)
    if lacking:
        row, cell = lacking[0]
        others = f", and {len(lacking) - 1:,} others are missing" if len(lacking) > 1 else ""
        raise DataError(
            f"{table.where(row)}: there is no file {folder / cell}{others}; correct column '{column}', or set the "
            "option root to the folder of the paths"
        )
    return found


def repeated_notes(files: Sequence[Path]) -> tuple[str, ...]:
    """A note about files that are listed more than once."""
    repeated = [file for file, count in Counter(files).items() if count > 1]
    return (f"{len(repeated):,} files are listed more than once, such as {repeated[0].name}",) if repeated else ()


def unused_note(table: TextTable, used: Sequence[str]) -> tuple[str, ...]:
    """A note about the columns of a table that are not used, if there are any.

    Args:
        table: the table.
        used: columns that are used.
    """
    unused = [name for name in table.columns if name not in used]
    return (f"{table.name}: columns that are not used: {shown(unused)}",) if unused else ()


def need_table(options: BaseModel, names: Sequence[str]) -> None:
    """Refuse options that speak of a table, for a source without one.

    Args:
        options: options of the task.
        names: the options that need a table.

    Raises:
        UsageError: one is set.
    """
    for name in names:
        if getattr(options, name):
            raise UsageError(
                f"task.{name}: it is for tables, but the source has none; name the table as the source, or leave "
                f"{name} out"
            )


def _file(folder: Path, cell: str, endings: Sequence[str]) -> Path | None:
    slashed = cell.replace("\\", "/")
    # macOS writes an accent as a character of its own into the names of files, other programs do not.
    composed = (unicodedata.normalize(form, slashed) for form in ("NFC", "NFD"))
    for text in dict.fromkeys((cell, slashed, *composed)):
        try:
            path = folder / Path(text).expanduser()
            if path.is_file():
                return path
            beside = [other for ending in endings if (other := path.with_name(path.name + ending)).is_file()]
        except (OSError, ValueError, RuntimeError):  # a name that no file can have
            continue
        if len(beside) == 1:
            return beside[0]
    return None
