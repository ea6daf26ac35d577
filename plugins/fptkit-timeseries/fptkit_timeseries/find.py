"""The files that a source stands for, found without opening them. Light."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fptkit import Options
from fptkit.sources import data_folder

ENDINGS = ("_TRAIN", "_TEST")
"""Endings of the names of the two files of a classification problem."""


def place_of(entry: str) -> Path:
    """Return the file or folder of a source ``archive:NAME`` or ``path:PLACE``."""
    kind, _, place = entry.partition(":")
    return Path(place).expanduser() if kind == "path" else data_folder() / "time_series" / place


def files(options: Options, entry: str) -> Iterable[Path]:
    """The files of a source, see ``TaskSpec.files``: of a file NAME_TRAIN also NAME_TEST."""
    if entry == "simulated":
        return ()
    path = place_of(entry)
    for ending in ENDINGS:
        if path.stem.endswith(ending):
            name = path.stem.removesuffix(ending)
            return [path.with_name(f"{name}{other}{path.suffix}") for other in ENDINGS]
    return (path,)
