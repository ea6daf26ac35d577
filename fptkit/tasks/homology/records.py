"""Readers of labelled protein sequences in TAPE's file formats: JSON, gzipped JSON, LMDB.

JSON is streamed record by record, and only the fields below are stored: TAPE's files also hold a profile for each
residue, which makes them much larger than the data that the task uses.
"""

from __future__ import annotations

import gzip
import json
import operator
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple

from fptkit.errors import DataError
from fptkit.sources import Unavailable
from fptkit.tasks.reading.text import open_text

MOST_FOLDS = 100_000  # SCOPe 2.08 has about 1,500 folds; a larger label is not a fold number


class Record(NamedTuple):
    """One protein domain.

    Args:
        primary: its amino acids as one-letter codes.
        fold: label of its fold, from 0; the class to predict.
        superfamily: label of its superfamily, -1 if unknown.
        family: label of its family, -1 if unknown.
        identifier: its name in SCOP, or its number in the file.
    """

    primary: str
    fold: int
    superfamily: int = -1
    family: int = -1
    identifier: str = ""


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
        return _records(path, _json_objects(path))
    if path.name.endswith(".lmdb"):
        return _records(path, _lmdb_objects(path))
    raise DataError(f"{path}: expected a file named *.json, *.json.gz or *.lmdb")


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


def _records(path: Path, objects: Generator[Any]) -> list[Record]:
    with closing(objects):  # closes an LMDB even if a record is refused
        records = [_record(path, number, fields) for number, fields in enumerate(objects)]
    if not records:
        raise DataError(f"{path}: no records")
    return records


def _record(path: Path, number: int, fields: Any) -> Record:
    where = f"{path}: record {number}"
    if not isinstance(fields, Mapping):
        raise DataError(f"{where}: expected an object with 'primary' and 'fold_label', got {type(fields).__name__}")
    primary = fields.get("primary")
    if isinstance(primary, bytes):
        primary = primary.decode("latin-1")
    if not isinstance(primary, str) or not primary:
        raise DataError(f"{where}: 'primary' must be amino acids as letters, got {primary!r:.60}")
    fold = _label(where, fields, "fold_label")
    if fold is None:
        raise DataError(f"{where}: 'fold_label' is missing")
    superfamily, family = (_label(where, fields, name) for name in ("superfamily_label", "family_label"))
    identifier = fields.get("id", number)
    if isinstance(identifier, bytes):
        identifier = identifier.decode("latin-1")
    return Record(
        primary, fold, -1 if superfamily is None else superfamily, -1 if family is None else family, str(identifier)
    )


def _label(where: str, fields: Mapping[str, Any], name: str) -> int | None:
    if name not in fields:
        return None
    try:
        label = operator.index(fields[name])
    except TypeError:
        label = None
    if label is None or isinstance(fields[name], bool) or (label < 0 and name == "fold_label"):
        raise DataError(f"{where}: '{name}' must be a whole number >= 0, got {fields[name]!r:.60}")
    if name == "fold_label" and label >= MOST_FOLDS:
        raise DataError(f"{where}: '{name}' is {label}; labels are numbered from 0 without gaps, below {MOST_FOLDS:,}")
    return label


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
            while place < len(buffer) and buffer[place] in " \t\r\n":
                place += 1
            if place < len(buffer) or ended:
                break
            buffer, place = text.read(chunk), 0
            ended = not buffer
        found = buffer[place : place + 1]
        if found not in what or (not found and what):
            expected = " or ".join(what) or "the end of the file"
            raise DataError(f"{path}: damaged JSON: expected {expected}, got {found or 'the end of the file'}")

    skip("[")
    place += 1
    skip("]{")
    while buffer[place] == "{":
        try:
            found, place = decoder.raw_decode(buffer, place)
        except ValueError as err:
            more = text.read(max(chunk, len(buffer)))  # doubling keeps the work linear for long records
            if not more:
                raise DataError(f"{path}: damaged JSON, or the file is truncated ({err})") from err
            buffer, place = buffer[place:] + more, 0
            continue
        yield found
        skip(",]")
        if buffer[place] == ",":
            place += 1
            skip("{")
    place += 1
    skip("")


def _lmdb_objects(path: Path) -> Generator[Any]:
    try:
        import lmdb
    except ImportError as err:
        raise Unavailable(
            f"{path.name} is an LMDB file and the package lmdb is missing: pip install 'fptkit[lmdb]'"
        ) from err

    try:
        with lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, meminit=False, max_readers=1
        ) as environment:
            pages = environment.info()["last_pgno"] + 1
            whole = pages * environment.stat()["psize"]
            data_file = path / "data.mdb" if path.is_dir() else path
            if data_file.stat().st_size < whole:  # reading it would crash the process with SIGBUS
                raise DataError(f"{data_file}: truncated: {data_file.stat().st_size:,} of {whole:,} bytes")
            with environment.begin() as transaction:
                count = _unpickled(path, transaction, "num_examples")
                if not isinstance(count, int) or count < 0:
                    raise DataError(f"{path}: key num_examples: expected a number of records, got {count!r:.60}")
                for number in range(count):
                    yield _unpickled(path, transaction, str(number))
    except lmdb.Error as err:
        raise DataError(f"{path}: not a readable LMDB file ({err})") from err


def _unpickled(path: Path, transaction: Any, key: str) -> Any:
    import pickle

    from fptkit.sources import plain_pickle

    data = transaction.get(key.encode())
    if data is None:
        raise DataError(f"{path}: key {key} is missing; the file is truncated or not in TAPE's layout")
    try:
        return plain_pickle.loads(data)
    except plain_pickle.RefusedError as err:
        raise DataError(
            f"{path}: key {key}: refused to read the pickle: {err}.\n"
            "A pickle can run any code. Use TAPE's JSON files instead: fptkit data fetch remote_homology"
        ) from err
    except pickle.UnpicklingError as err:
        raise DataError(f"{path}: key {key}: {err}") from err
