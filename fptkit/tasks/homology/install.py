"""Putting TAPE's archive in place: find the five files, check them, keep what the task uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fptkit.errors import DataError
from fptkit.sources.data_sets import DATA_SETS
from fptkit.tasks.homology.records import read_records, write_records


def install(unpacked: Path, destination: Path) -> Mapping[str, int]:
    """Write ``remote_homology_<split>.json.gz`` with sequences, labels and names only.

    TAPE's files also hold a profile, structure and accessibility for each residue; without them a file is read in a
    fraction of a second instead of many.

    Args:
        unpacked: folder with TAPE's files at any depth, in any of its forms.
        destination: existing folder the new files go to.

    Returns:
        number of records by file stem.

    Raises:
        DataError: a file is missing, damaged, or has another number of records than TAPE's.
        Unavailable: the archive is of the LMDB form and the package lmdb is not installed.
    """
    data_set = DATA_SETS["remote_homology"]
    counts: dict[str, int] = {}
    for stem, expected in data_set.records.items():
        found = [path for ending in data_set.extensions for path in sorted(unpacked.rglob(stem + ending))]
        if not found:
            raise DataError(f"the archive holds no {stem}.json, .json.gz or .lmdb; it is not TAPE's remote_homology")
        records = read_records(found[0])
        if len(records) != expected:
            raise DataError(f"{found[0].name}: {len(records):,} records, TAPE's has {expected:,}")
        write_records(destination / f"{stem}.json.gz", records)
        counts[stem] = len(records)
    return counts
