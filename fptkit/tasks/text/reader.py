"""Texts from tables, JSON records and files in class folders. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fptkit.errors import DataError
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.json_lines import read_json_records
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


def class_of(path: Path, base: Path) -> str | None:
    """The class of a text file: the folder below the source's; None if it is in none."""
    parts = path.relative_to(base).parts if path != base else ()
    return parts[0] if len(parts) > 1 else None
