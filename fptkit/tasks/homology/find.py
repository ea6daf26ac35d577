"""The files of a folder in TAPE's layout, found without opening them. Light."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fptkit.sources import data_folder
from fptkit.sources.choice import expanded
from fptkit.sources.data_sets import files_of
from fptkit.tasks.homology.options import RemoteHomologyOptions

TEST_SPLITS = ("test_fold_holdout", "test_superfamily_holdout", "test_family_holdout")
SPLITS = ("train", "validation", *TEST_SPLITS)

_FILE = {"validation": "remote_homology_valid"}  # TAPE's names that differ from ours


def file_stem(split: str) -> str:
    """Return the name of a split's file in TAPE's layout, without its extension."""
    return _FILE.get(split, f"remote_homology_{split}")


def folder_of(entry: str) -> Path:
    """Return the folder of the source ``tape`` or ``path:DIR``."""
    if entry == "tape":
        return data_folder() / "remote_homology"
    return expanded(entry.removeprefix("path:"))


def split_files(folder: Path) -> dict[str, Path]:
    """Return the file of each split that a folder has."""
    found = files_of("remote_homology", folder)
    return {name: found[file_stem(name)] for name in SPLITS if file_stem(name) in found}


def files(options: RemoteHomologyOptions, entry: str) -> Iterable[Path]:
    """The files of an entry of ``source``, for the identity of the data; see ``TaskSpec.files``."""
    return () if entry == "simulated" else split_files(folder_of(entry)).values()
