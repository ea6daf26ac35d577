"""TAPE's LMDB files, read in a process of their own, since reading a damaged one may end the process.

LMDB maps a file into memory and follows the page numbers in it without checking them. So `read_lmdb` starts this module
as a program, which writes a line of JSON for each record; if a signal ends it, that is an error like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fptkit.errors import DataError
from fptkit.sources import Unavailable
from fptkit.sources.decoding import check_regular, decoding, shown_value
from fptkit.tasks.homology.fields import Record, record_of

_LEAST_SECONDS, _BYTES_PER_SECOND = 60, 2**20
"""A reader that takes longer than this is stopped."""

_MOST_MEMORY = 8 * 2**30
"""Bytes that the reader may use; a pickle of some bytes may ask for any number. The mapped file does not count."""


def read_lmdb(path: Path) -> list[Record]:
    """Read the records of an LMDB file.

    Args:
        path: a folder with ``data.mdb``, or such a file.

    Raises:
        DataError: it is damaged or in another layout, or a pickle in it has more than plain values.
        Unavailable: the package lmdb is not installed.
    """
    try:
        import lmdb  # noqa: F401  # whether it can be imported
    except ImportError as err:
        raise Unavailable(
            f"{path.name} is an LMDB file and the package lmdb is missing: pip install 'fptkit[lmdb]'"
        ) from err
    data = path / "data.mdb" if path.is_dir() else path
    check_regular(data)
    with decoding(data, "an LMDB file"):
        size = data.stat().st_size
    with tempfile.TemporaryFile() as output:
        _run_reader(path, output, max(_LEAST_SECONDS, size // _BYTES_PER_SECOND))
        output.seek(0)
        lines = [json.loads(line) for line in output]
    if not lines or "done" not in lines[-1]:
        raise DataError(f"{path}: not readable as an LMDB file: its reader ended early; replace it by an intact copy")
    if error := lines[-1].get("error"):
        raise DataError(error)
    return [Record(*line["record"]) for line in lines[:-1]]


def _run_reader(path: Path, output: IO[bytes], seconds: int) -> None:
    """Run the reader until it ends, with this process's own paths of modules.

    Raises:
        DataError: it was ended by a signal, or takes too long.
    """
    command = [sys.executable, "-m", __name__, str(path)]
    places = os.pathsep.join(place or os.getcwd() for place in sys.path)
    environment = {**os.environ, "PYTHONPATH": places, "PYTHONSAFEPATH": "1"}
    advice = "the file is damaged; replace it by an intact copy"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired as err:
        raise DataError(f"{path}: reading it did not end within {seconds} s; {advice}") from err
    except (OSError, ValueError) as err:
        raise DataError(f"{path}: the process that reads it cannot be started: {err}; look at the system") from err
    if done.returncode < 0:
        raise DataError(f"{path}: reading it ends the process by {_name_of(-done.returncode)}; {advice}")
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"status {done.returncode}"]
        raise DataError(f"{path}: not readable as an LMDB file: {said[-1][:300]}; replace it by an intact copy")


def _name_of(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def main(place: str) -> None:
    """Write the records of a file to standard output, a line each, then a line ``done`` with the error or none."""
    _limit_memory()
    path, error = Path(place), ""
    try:
        for number, fields in enumerate(_objects(path)):
            print(json.dumps({"record": record_of(path, number, fields)}))
    except DataError as err:
        error = str(err)
    print(json.dumps({"done": True, "error": error}))


def _limit_memory() -> None:
    """Limit this process's memory, and let it leave no core file."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _objects(path: Path) -> Iterator[Any]:
    import lmdb

    what = "an LMDB file"
    with decoding(str(path), what):
        environment = lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, meminit=False, max_readers=1
        )
    with environment:
        with decoding(str(path), what):
            whole = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        data_file = path / "data.mdb" if path.is_dir() else path
        if (size := data_file.stat().st_size) < whole:  # more likely an incomplete copy than a damaged one
            raise DataError(f"{data_file}: truncated: {size:,} of {whole:,} bytes; copy it again")
        with decoding(str(path), what):
            transaction = environment.begin()
        count = _unpickled(path, transaction, "num_examples")
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise DataError(f"{path}: key num_examples: expected a number of records, got {shown_value(count)}")
        for number in range(count):
            yield _unpickled(path, transaction, str(number))


def _unpickled(path: Path, transaction: Any, key: str) -> Any:
    from fptkit.sources import plain_pickle

    with decoding(f"{path}: key {key}", "an entry of LMDB"):
        data = transaction.get(key.encode())
    if data is None:
        raise DataError(f"{path}: key {key} is missing; the file is truncated or not in TAPE's layout")
    try:
        with decoding(f"{path}: key {key}", "a pickle"):
            return plain_pickle.loads(data)
    except DataError as err:
        if not isinstance(err.__cause__, plain_pickle.RefusedError):
            raise
        raise DataError(
            f"{path}: key {key}: refused to read the pickle: {err.__cause__}.\n"
            "A pickle can run any code. Use TAPE's JSON files instead: fptkit data fetch remote_homology"
        ) from err


if __name__ == "__main__":
    main(sys.argv[1])
