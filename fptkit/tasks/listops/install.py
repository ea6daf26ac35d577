"""Installation of Long Range Arena's archive: find the three files of ListOps, check them, store them compressed."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path

from fptkit.errors import DataError
from fptkit.sources.data_sets import DATA_SETS
from fptkit.tasks.listops.files import read_expressions


def install(unpacked: Path, destination: Path) -> Mapping[str, int]:
    """Write ``basic_<split>.tsv.gz``, the files as they are.

    Args:
        unpacked: folder with the files at any depth.
        destination: existing folder for the new files.

    Returns:
        number of expressions by file stem.

    Raises:
        DataError: a file is missing or damaged, a label is wrong, or the number of expressions differs from Long Range
            Arena's.
    """
    counts: dict[str, int] = {}
    for stem, expected in DATA_SETS["listops"].records.items():
        found = sorted(unpacked.rglob(f"{stem}.tsv"))
        if not found:
            raise DataError(f"the archive has no listops-1000/{stem}.tsv; it is not Long Range Arena's")
        counts[stem] = len(read_expressions(found[0]))
        if counts[stem] != expected:
            raise DataError(f"{found[0].name}: {counts[stem]:,} expressions, Long Range Arena's has {expected:,}")
        with found[0].open("rb") as source, gzip.GzipFile(destination / f"{stem}.tsv.gz", "wb", mtime=0) as target:
            shutil.copyfileobj(source, target)
    return counts
