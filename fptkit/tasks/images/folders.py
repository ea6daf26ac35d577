"""Pictures in class folders: which files are read, and the class and split of each. Imports no decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fptkit.errors import DataError, SourceError
from fptkit.sources import shown_folder
from fptkit.tasks.images.pictures import is_picture
from fptkit.tasks.reading.paths import (
    SourceFiles,
    empty_folders,
    find_files,
    inner_folder,
    passed_over_notes,
    places,
    splits_below,
)

ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".qoi"),
)
"""Endings of pictures. The content decides the format; files without any ending are read if they are pictures."""


@dataclass(frozen=True)
class ClassFolders:
    """Pictures in class folders.

    Args:
        files: the pictures of each split, or all under ``all``.
        classes: class of each picture, the name of its folder.
        inner: for each picture the folders between its class folder and itself, joined by ``/``; mostly empty.
        warnings: what is probably wrong.
    """

    files: SourceFiles
    classes: Mapping[Path, str]
    inner: Mapping[Path, str]
    warnings: tuple[str, ...] = ()


def find_pictures(source: Mapping[str, Sequence[str]], *, own: bool = True) -> SourceFiles:
    """Find all pictures in folders and below, whether in class folders or not.

    A folder that has nothing but one other folder stands for that folder, as after unpacking an archive.

    Args:
        source: entries of each split, or of all under ``all``.
        own: whether to look for folders that name splits.

    Raises:
        SourceError: there is no such place, or it has no pictures.
    """
    inner = {
        split: [f"path:{inner_folder(place)}" for entry in some for place in places(entry)]
        for split, some in source.items()
    }
    found = find_files(inner, ("", *ENDINGS), own=own)
    strange = {file for file in found.files if not _reads(file)}
    splits = {split: tuple(file for file in files if file not in strange) for split, files in found.splits.items()}
    passed_over = (*found.passed_over, *sorted(strange))
    if empty := [split for split, files in splits.items() if not files]:
        where = next(iter(source.get(empty[0]) or source["all"]))
        raise SourceError("task.source", [(where, _no_pictures(empty[0], passed_over))])
    return SourceFiles(splits, passed_over, passed_over_notes(passed_over), found.base)


def class_folders(
    source: Mapping[str, Sequence[str]], *, own: bool = True, class_folder: str = "first"
) -> ClassFolders:
    """Find pictures in class folders, by split if the folders above, or directly below, name splits.

    Args:
        source: folders of each split, or of all under ``all``.
        own: whether to use folders that name splits.
        class_folder: ``first``: the class is the folder directly in the source, as in torchvision's ``ImageFolder``;
            ``deepest``: the folder that holds the picture, named by its path.

    Raises:
        SourceError: there is no such place, or it has no pictures.
        DataError: there are no class folders.
    """
    found = find_pictures(source, own=own)
    parts = {file: file.relative_to(found.base[file]).parts[:-1] for file in found.files}
    loose = [file for file, folders in parts.items() if not folders]
    if len(loose) == len(parts):
        raise DataError(_no_classes(found))
    splits, unlabelled = _with_classes(found, parts)
    if own and set(splits) == {"all"}:
        splits = splits_below(splits["all"], parts) or splits
    used = {file: parts[file] for files in splits.values() for file in files}
    deep = [file for file, folders in used.items() if len(folders) > 1]
    cut = len if class_folder == "deepest" else lambda folders: 1
    classes = {file: "/".join(folders[: cut(folders)]) for file, folders in used.items()}
    notes = [*unlabelled]
    if loose and not unlabelled:
        notes.append(f"{len(loose):,} pictures outside the class folders are not used, such as {loose[0].name}")
    if deep and class_folder == "first":
        notes.append(f"{len(deep):,} pictures are in folders inside their class folder, and have its class")
    files = replace(found, splits=splits, notes=(*found.notes, *notes))
    inner = {file: "/".join(folders[1:]) for file, folders in used.items()}
    return ClassFolders(files, classes, inner, empty_folders(found, used, "pictures"))


def _with_classes(
    found: SourceFiles, parts: Mapping[Path, tuple[str, ...]]
) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """The pictures of each split that are in a class folder, and notes about splits that have none."""
    splits = {name: tuple(file for file in files if parts[file]) for name, files in found.splits.items()}
    lacking = [name for name, files in splits.items() if not files]
    if "train" in lacking:
        raise DataError(_no_classes(found))
    notes = [
        f"{len(found.splits[name]):,} pictures of {name} are not used: they are in no class folder" for name in lacking
    ]
    return {name: files for name, files in splits.items() if files}, notes


def _reads(file: Path) -> bool:
    return is_picture(file) if not file.suffix else file.suffix.lower() in ENDINGS


def _no_pictures(split: str, passed_over: Sequence[Path]) -> str:
    what = "no pictures" if split == "all" else f"no pictures for {split}"
    notes = passed_over_notes(passed_over)
    return f"{what} ({', '.join(ENDINGS)})" + (f"; {notes[0]}" if notes else "")


def _no_classes(found: SourceFiles) -> str:
    base = found.base[found.files[0]]
    tables = [path.name for path in found.passed_over if path.suffix.lower() in (".csv", ".tsv", ".parquet")]
    tip = f"name the table that has their labels: path:{base / tables[0]}" if tables else "or name a table with labels"
    return (
        f"{shown_folder(base)}: {len(found.files):,} pictures, but none in a class folder; put them into a folder for "
        f"each class, {tip}"
    )
