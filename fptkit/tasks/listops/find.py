"""The files of a ListOps folder, found without opening them. Light."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from fptkit.sources import Unavailable, data_folder, shown_folder
from fptkit.sources.choice import expanded
from fptkit.tasks.listops.options import ListOpsFiles, ListOpsOptions

SPLITS = ("train", "validation", "test")

LAYOUTS: tuple[Mapping[str, str], ...] = (
    {"train": "basic_train.tsv", "validation": "basic_val.tsv", "test": "basic_test.tsv"},  # Long Range Arena
    {"train": "train_d20s.tsv", "test": "test_d20s.tsv"},  # Nangia & Bowman
    {"train": "train.tsv", "validation": "validation.tsv", "test": "test.tsv"},
)
"""Known file names of a folder, each also with ``.gz``; the first layout with a train and a test file is read."""


def files(options: ListOpsOptions, entry: str) -> Iterable[Path]:
    """The files of an entry of ``source``, for the identity of the data; see ``TaskSpec.files``."""
    if entry == "generated":
        return ()
    try:
        return find_files(folder_of(entry), options.files).values()
    except Unavailable:
        return ()


def folder_of(entry: str) -> Path:
    """Return the folder of the source ``lra`` or ``path:DIR``."""
    return data_folder() / "listops" if entry == "lra" else expanded(entry.removeprefix("path:"))


def find_files(folder: Path, files: ListOpsFiles) -> dict[str, Path]:
    """Return the file of each split; the validation split may have none.

    Raises:
        Unavailable: the folder or a required file is missing.
    """
    if not folder.is_dir():
        raise Unavailable(f"there is no folder {shown_folder(folder)}")
    named = {name: folder / file for name in SPLITS if (file := getattr(files, name))}
    for path in named.values():
        if not path.is_file():
            raise Unavailable(f"{shown_folder(folder)} lacks {path.name}, which is set in task.files")
    for layout in LAYOUTS:
        found = {**_present(folder, layout), **named}
        if "train" in found and "test" in found:
            return {name: found[name] for name in SPLITS if name in found}
    raise Unavailable(f"{shown_folder(folder)} lacks a file for train or for test")


def _present(folder: Path, layout: Mapping[str, str]) -> dict[str, Path]:
    return {
        name: path for name, file in layout.items() for path in (folder / f"{file}.gz", folder / file) if path.is_file()
    }
