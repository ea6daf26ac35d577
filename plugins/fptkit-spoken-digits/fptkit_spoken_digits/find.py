"""The files that a source stands for, found without opening them. Light."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fptkit import Options
from fptkit.sources import data_folder


def files(options: Options, entry: str) -> Iterable[Path]:
    """The files of a source, for the identity of the data; see ``TaskSpec.files``."""
    if entry == "tones":
        return ()
    if entry.startswith("path:"):
        return (_recordings(Path(entry.removeprefix("path:")).expanduser()),)
    archive = data_folder() / "fsdd.npz"
    return (archive if archive.is_file() else _recordings(data_folder() / "fsdd"),)


def _recordings(place: Path) -> Path:
    """The folder of the clips within a clone of the data set; other places as they are."""
    return place / "recordings" if (place / "recordings").is_dir() else place
