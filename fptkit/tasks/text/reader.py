"""Texts from tables, JSON records and files in class folders. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fptkit.errors import DataError
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.json_lines import LIST, read_json_records
from fptkit.tasks.reading.paths import SourceFiles
from fptkit.tasks.reading.text import file_type, read_text
from fptkit.tasks.reading.usual import find_first
from fptkit.tasks.table.reader import read_table
from fptkit.tasks.text.options import DOCUMENTS, ENDINGS, RECORDS, TABLES, TextOptions

TEXT_NAMES = (
    *("text", "sentence", "review", "content", "document", "body", "message", "comment", "title", "tweet", "question"),
    *("abstract", "headline", "description", "texts", "sentences", "utterance", "sms", "email"),
)
"""Usual names of the column of texts, best first."""

CLASS = "class"
"""Name of the target of files in class folders."""


def find_texts(source: Mapping[str, Sequence[str]], *, own: bool = True) -> SourceFiles:
    """The files of a source: tables and JSON records, or if there are none, text files in class folders.

    Args:
        source: entries by split.
        own: whether to look for own splits.
    """
    return find_first(source, ((*TABLES, *RECORDS), DOCUMENTS), own=own)


def files(options: TextOptions, entry: str) -> Iterable[Path]:
    """The files of an entry of ``source``, for the identity of the data; see ``TaskSpec.files``."""
    own = options.split.own and options.split.column is None
    return find_texts({"all": (entry,)}, own=own).files


def is_document(path: Path) -> bool:
    """Whether a file is one text."""
    return file_type(path) in DOCUMENTS


def read_texts(path: Path, delimiter: str | None = None, *, header: bool = True) -> TextTable:
    """Read a table or JSON records; the ending says which.

    Args:
        path: the file, packed or not.
        delimiter: character between the cells of a table; None to find it.
        header: whether the first line of a table has the column names.

    Raises:
        DataError: it is not a file of this format.
    """
    ending = file_type(path)
    if ending in RECORDS:
        return read_json_records(path)
    if ending in TABLES:
        return read_table(path, delimiter, header=header)
    raise DataError(f"{path}: a file with this ending is not read; expected {', '.join(ENDINGS)}")


def read_document(path: Path) -> str:
    """The text of a file, without surrounding white space.

    Raises:
        DataError: it is not text, or is empty.
    """
    text = read_text(path).strip()
    if not text:
        raise DataError(f"{path}: the file has no text; remove it")
    return text


def classes_of(paths: Sequence[Path], base: Mapping[Path, Path]) -> list[str | None]:
    """The class of each text file: the folder below the source's; None if it is in none.

    A folder that has nothing but one other folder stands for that folder.

    Args:
        paths: the files.
        base: the folder that the source names, for each file.
    """
    folders = [path.parent.relative_to(base[path]).parts if path != base[path] else () for path in paths]
    while all(len(parts) > 1 and parts[0] == folders[0][0] for parts in folders):
        folders = [parts[1:] for parts in folders]
    return [parts[0] if parts else None for parts in folders]


def no_lists(table: TextTable, column: str) -> None:
    """Refuse a JSON list as a text.

    Args:
        table: the table.
        column: its column of texts.

    Raises:
        DataError: a text is a list.
    """
    for row, text in enumerate(table.columns[column]):
        if LIST in text:
            raise DataError(
                f"{table.where(row)}: '{column}' is a list, not a text; join its parts, or use the task sequences"
            )
