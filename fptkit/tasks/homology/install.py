"""Installation of TAPE's archive: find the five files, check them, store the fields that the task uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fptkit.errors import DataError
from fptkit.sources.data_sets import find_data_set
from fptkit.tasks.homology.records import read_records, write_records


def install(unpacked: Path, destination: Path) -> Mapping[str, int]:
    """Write ``remote_homology_<split>.json.gz`` with sequences, labels and names only.

    TAPE's files also hold a profile, structure and accessibility for each residue; without these a file loads in a
    fraction of a second instead of many seconds.

    Args:
        unpacked: folder with TAPE's files at any depth, in any of TAPE's formats.
        destination: existing folder for the new files.

    Returns:
        number of records by file stem.

    Raises:
        DataError: a file is missing or damaged, or its number of records differs from TAPE's.
        Unavailable: the archive is in LMDB format and the package lmdb is not installed.
    """
    data_set = find_data_set("remote_homology")
    counts: dict[str, int] = {}
    for stem, expected in data_set.records.items():
        found = [path for ending in data_set.extensions for path in sorted(unpacked.rglob(stem + ending))]
        if not found:
            raise DataError(f"the archive has no {stem}.json, .json.gz or .lmdb; it is not TAPE's remote_homology")
        records = read_records(found[0])
        if len(records) != expected:
            raise DataError(f"{found[0].name}: {len(records):,} records, TAPE's has {expected:,}")
        write_records(destination / f"{stem}.json.gz", records)
        counts[stem] = len(records)
    return counts
