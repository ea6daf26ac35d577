"""Which pictures are read, from class folders or from a table. Imports no decoder, NumPy or torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fptkit.errors import UsageError
from fptkit.sources.choice import expanded
from fptkit.tasks.images.folders import ENDINGS, class_folders
from fptkit.tasks.own_images.options import TABLES, ImagesOptions
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.listed import listed_files, path_column
from fptkit.tasks.reading.paths import find_files, places
from fptkit.tasks.reading.text import file_type
from fptkit.tasks.table.reader import read_table

SUBFOLDER = "subfolder"
"""Column of pictures in class folders by which they can be split in groups: the folders inside the class folder."""


def files(options: ImagesOptions, entry: str) -> Iterable[Path]:
    """The files of an entry of ``source``, for the identity of the data; see ``TaskSpec.files``."""
    source, own = {"all": (entry,)}, uses_own_splits(options)
    if not lists_pictures(source):
        return class_folders(source, own=own, class_folder=options.class_folder).files.files
    tables = find_files(source, TABLES, own=own).files
    pictures = [file for path in tables for file in pictures_of(read_table(path, options.delimiter), path, options)]
    return [*tables, *dict.fromkeys(pictures)]


def uses_own_splits(options: ImagesOptions) -> bool:
    """Whether the source's own splits are used."""
    return options.split.own and options.split.column is None


def lists_pictures(source: Mapping[str, Sequence[str]]) -> bool:
    """Whether a source is tables that list pictures; false for folders and pictures.

    Raises:
        SourceError: there is nothing at a place.
        UsageError: it names both.
    """
    tables = {
        place.is_file() and file_type(place) in TABLES
        for entries in source.values()
        for entry in entries
        for place in places(entry)
    }
    if len(tables) > 1:
        raise UsageError("task.source: folders of pictures and tables cannot be mixed; name one kind")
    return tables == {True}


def pictures_of(table: TextTable, file: Path, options: ImagesOptions) -> list[Path]:
    """The picture of each row of a table.

    Args:
        table: the table.
        file: its file.
        options: its column and folder of paths.

    Raises:
        DataError: a picture does not exist.
        UsageError: the column of paths is not known.
    """
    root = file.parent if options.root is None else expanded(options.root.removeprefix("path:"))
    return listed_files(table, path_column(table, options.path, ENDINGS), root, ENDINGS)
