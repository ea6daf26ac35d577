"""Tables from text and Parquet files. Does not import torch or NumPy before a Parquet file is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from fptkit.errors import DataError, UsageError
from fptkit.sources.decoding import check_unpacked, decoding
from fptkit.tasks.reading.delimited import TextTable, read_delimited
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.paths import files_of_entry
from fptkit.tasks.reading.text import file_type
from fptkit.tasks.table.options import ENDINGS, TableOptions

_MOST_CELLS = 100_000_000


def files(options: TableOptions, entry: str) -> Iterable[Path]:
    """The files of an entry of ``source``, for the identity of the data; see ``TaskSpec.files``."""
    return files_of_entry(options, entry, ENDINGS)


def read_table(path: Path, delimiter: str | None = None, *, header: bool = True) -> TextTable:
    """Read a table; the ending says whether it is text or Parquet.

    Args:
        path: the file.
        delimiter: character between the cells of a text file; None to find it.
        header: whether the first line of a text file has the column names.

    Raises:
        DataError: it is not a table.
        UsageError: it is Parquet and pyarrow is not installed.
    """
    if file_type(path) == ".parquet":
        return _read_parquet(path)
    return read_delimited(path, delimiter, header=header)


def same_columns(tables: Sequence[TextTable], wanted: Sequence[str]) -> None:
    """Check that tables have the columns they need; further columns are allowed.

    Args:
        tables: tables of one source.
        wanted: names of the columns.

    Raises:
        DataError: one lacks a column.
    """
    for table in tables:
        if lacking := [name for name in wanted if name not in table.columns]:
            raise DataError(
                f"{table.name}: no column '{lacking[0]}', which the training data have; its columns are "
                f"{shown(list(table.columns))}. Add it, or rename the column that it is"
            )


def _read_parquet(path: Path) -> TextTable:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as err:
        raise UsageError(f"{path}: Parquet files need pyarrow: pip install 'fptkit[parquet]'") from err
    with decoding(path, "Parquet", advice="write it again"), pq.ParquetFile(path) as file:
        _check_size(path, file.metadata)
        table = file.read()  # one file: a folder name such as year=2020 must not add a column
        names = table.column_names
    # pandas writes its row numbers as a column of this name.
    index = [name for name in names if name.startswith("__index_level_")]
    notes = (f"{path.name}: the row numbers of pandas ({', '.join(index)}) are not used",) if index else ()
    if not table.num_rows:
        raise DataError(f"{path}: no rows")
    columns, kinds = {}, {}
    for name in names:
        if name in index:
            continue
        if not name.strip() or names.count(name) > 1:
            raise DataError(f"{path}: a column has no name, or the name of another: '{name}'; rename it")
        kind = table.schema.field(name).type
        with decoding(str(path), f"Parquet, column '{name}'", advice="write it again"):
            values = table.column(name).to_pylist()
        columns[name] = [_text(value, path, name) for value in values]
        if any(is_kind(kind) for is_kind in _numeric(pa.types)):
            kinds[name] = "number"
        elif pa.types.is_temporal(kind) and not pa.types.is_time(kind) and not pa.types.is_duration(kind):
            kinds[name] = "date"
    return TextTable(str(path), columns, kinds=kinds, notes=notes)


def _check_size(path: Path, metadata: Any) -> None:
    """Refuse a file that claims more than it can have: a few bytes may stand for any number of equal values."""
    check_unpacked(path, sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)))
    cells = metadata.num_rows * metadata.num_columns
    if cells > max(_MOST_CELLS, 100 * path.stat().st_size):
        raise DataError(f"{path}: its header declares {cells:,} values; write it again, or in several files")


def _numeric(types: Any) -> tuple[Callable[[Any], bool], ...]:
    """Tests for types of numbers; times of the day and durations are seconds."""
    return types.is_integer, types.is_floating, types.is_decimal, types.is_time, types.is_duration


def _text(value: Any, path: Path, column: str) -> str:
    """A value of a Parquet file as the text of a cell."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return "" if value != value else repr(value)
        case datetime():
            return value.isoformat(sep=" ")
        case date():
            return value.isoformat()
        case time():
            return repr((value.hour * 60 + value.minute) * 60 + value.second + value.microsecond / 1e6)
        case timedelta():
            return repr(value.total_seconds())
        case str():
            return value.strip()
        case list() | dict() | bytes():
            raise DataError(
                f"{path}: column '{column}' has values of type {type(value).__name__}, not text or numbers; "
                "leave it out of the file"
            )
        case _:
            return str(value)
