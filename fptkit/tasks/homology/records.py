"""Readers of labelled protein sequences in TAPE's file formats: JSON, gzipped JSON, LMDB.

JSON is streamed record by record, and only the fields below are stored: TAPE's files also hold a profile for each
residue, which makes them much larger than the data that the task uses.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import IO, Any

from fptkit.errors import DataError
from fptkit.sources.decoding import decoding
from fptkit.tasks.homology.fields import MOST_FOLDS, Record, record_of
from fptkit.tasks.homology.lmdb_file import read_lmdb
from fptkit.tasks.reading.text import open_text

__all__ = ["MOST_FOLDS", "Record", "read_records", "write_records"]

_SPACE = re.compile(r"[ \t\r\n]*")


def read_records(path: Path | str) -> list[Record]:
    """Read one file in TAPE's layout.

    Args:
        path: ``*.json``, ``*.json.gz`` (a list of objects with ``primary`` and ``fold_label``) or ``*.lmdb`` (a folder
            or a file; key ``num_examples`` and keys ``0``, ``1``, ... that hold pickles).

    Raises:
        DataError: the file is missing, damaged or in another layout, or a pickle in it has more than plain values.
        Unavailable: the file is an LMDB and the package lmdb is not installed.

    Source: songlab-cal/tape, tape/datasets.py, classes JSONDataset, LMDBDataset and RemoteHomologyDataset.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file")
    if path.name.endswith((".json", ".json.gz")):
        records = [record_of(path, number, fields) for number, fields in enumerate(_json_objects(path))]
    elif path.name.endswith(".lmdb"):
        records = read_lmdb(path)
    else:
        raise DataError(f"{path}: expected a file named *.json, *.json.gz or *.lmdb")
    if not records:
        raise DataError(f"{path}: no records")
    return records


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as gzipped JSON in TAPE's layout; the same records give the same bytes."""
    objects = [
        {
            "primary": record.primary,
            "protein_length": len(record.primary),
            "fold_label": record.fold,
            "superfamily_label": record.superfamily,
            "family_label": record.family,
            "id": record.identifier,
        }
        for record in records
    ]
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
        packed.write(json.dumps(objects).encode())


def _json_objects(path: Path) -> Generator[Any]:
    with open_text(path) as text:
        yield from _json_list(path, text)


def _json_list(path: Path, text: IO[str], chunk: int = 1 << 16) -> Generator[Any]:
    """Yield the objects of a JSON list one at a time, so that large files do not need much memory."""
    decoder = json.JSONDecoder()
    buffer, place, ended = text.read(chunk), 0, False

    def skip(what: str) -> None:
        """Skip white space; the next character must be one of ``what``, or the text must end if ``what`` is empty."""
        nonlocal buffer, place, ended
        while True:
            place = _SPACE.match(buffer, place).end()  # type: ignore[union-attr]  # it matches anything
            if place < len(buffer) or ended:
                break
            buffer, place = text.read(chunk), 0
            ended = not buffer
        found = buffer[place : place + 1]
        if found not in what or (not found and what):
            expected = " or ".join(what) or "the end of the file"
            got = (found if found.isprintable() else repr(found)) or "the end of the file"
            raise DataError(f"{path}: damaged JSON: expected {expected}, got {got}")

    skip("[")
    place += 1
    skip("]{")
    while buffer[place] == "{":
        try:
            with decoding(str(path), "JSON"):
                found, place = decoder.raw_decode(buffer, place)
        except DataError as err:
            if not isinstance(err.__cause__, json.JSONDecodeError):
                raise
            more = text.read(max(chunk, len(buffer)))  # doubling keeps the work linear for long records
            if not more:
                raise DataError(f"{path}: damaged JSON, or the file is truncated ({err.__cause__})") from err
            buffer, place = buffer[place:] + more, 0
            continue
        yield found
        skip(",]")
        if buffer[place] == ",":
            place += 1
            skip("{")
    place += 1
    skip("")
