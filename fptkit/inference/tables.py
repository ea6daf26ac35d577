"""Tables that grow by batches and appear at their place only when they are complete: CSV, JSON lines, Parquet.

Read back, they have exactly the values that were written. In CSV, a cell with a list is JSON.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from fptkit.errors import DataError, UsageError
from fptkit.files import replacing
from fptkit.inference.columns import Columns

ENDINGS = (".csv", ".jsonl", ".parquet")
"""Endings of the tables that are written."""


class TableWriter(ABC):
    """Writes a table in parts that all have the same columns."""

    @abstractmethod
    def write(self, columns: Columns) -> None:
        """Add rows."""


class CsvWriter(TableWriter):
    """Comma-separated values as in RFC 4180, with lines that end in a line feed.

    Args:
        file: receives the text.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file, self._begun = file, False

    def write(self, columns: Columns) -> None:
        """See `TableWriter.write`."""
        if not self._begun:
            self._file.write(_csv_line(list(columns)))
            self._begun = True
        for row in zip(*columns.values(), strict=True):
            self._file.write(_csv_line([json.dumps(cell) if isinstance(cell, list) else cell for cell in row]))


class JsonLinesWriter(TableWriter):
    """One JSON object per line.

    Args:
        file: receives the text.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, columns: Columns) -> None:
        """See `TableWriter.write`."""
        for row in zip(*columns.values(), strict=True):
            self._file.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")


class ParquetWriter(TableWriter):
    """A Parquet file with a row group per part.

    Args:
        path: the file.

    Raises:
        UsageError: pyarrow is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as err:
            raise UsageError(f"{path}: Parquet files need pyarrow: pip install 'fptkit[parquet]'") from err
        self._arrow, self._parquet, self._path = pa, pq, path
        self._writer: Any = None

    def write(self, columns: Columns) -> None:
        """See `TableWriter.write`."""
        pa = self._arrow
        schema = None if self._writer is None else self._writer.schema
        table = pa.table({name: _valid(cells) for name, cells in columns.items()}, schema=schema)
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """End the file."""
        if self._writer is not None:
            self._writer.close()


@contextlib.contextmanager
def writing_table(path: Path) -> Iterator[TableWriter]:
    """Write a table; it replaces a file at its place when the block ends, and nothing is left if the block raises.

    Args:
        path: the file; its ending decides the format.

    Raises:
        UsageError: the ending is unknown, pyarrow is missing, or the place cannot be written.
        DataError: a text cannot be written in UTF-8.
    """
    ending = check_place(path, ENDINGS)
    with replaced(path) as partial:
        if ending == ".parquet":
            parquet = ParquetWriter(partial)
            try:
                yield parquet
            finally:
                parquet.close()
            return
        with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield CsvWriter(file) if ending == ".csv" else JsonLinesWriter(file)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """See `fptkit.files.replacing`; with errors for users.

    Raises:
        UsageError: the place cannot be written.
        DataError: a text cannot be written in UTF-8.
    """
    try:
        with replacing(path) as partial:
            yield partial
    except UnicodeEncodeError as err:
        raise DataError(f"{path}: {err.object[err.start]!r} has no UTF-8 form; write .jsonl, which escapes it") from err
    except OSError as err:
        if err.filename is not None and path.name[:40] not in str(err.filename):
            raise  # another file
        raise UsageError(f"{path}: cannot be written ({err.strerror or err}); choose another --output") from err


def check_place(path: Path, endings: Sequence[str]) -> str:
    """The ending of a file to write, before anything is computed.

    Args:
        path: the file.
        endings: those that are possible.

    Raises:
        UsageError: it has another ending, is a folder, or its folder does not exist.
    """
    ending = path.suffix.lower()
    if ending not in endings:
        raise UsageError(f"--output {path}: unknown ending '{path.suffix}'; use {', '.join(endings)}")
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}; create it first")
    return ending


def _csv_line(cells: Sequence[Any]) -> str:
    """A line. Floats are written as ``repr`` does; quotes are used where they are needed."""
    text = io.StringIO(newline="")
    # A lone carriage return is quoted only if it may end a line.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _valid(cells: list[Any]) -> list[Any]:
    """Cells without parts of file names that are no Unicode, which Arrow does not take."""
    if not isinstance(cells[0], str):
        return cells
    return [cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for cell in cells]
