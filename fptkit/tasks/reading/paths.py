"""Entries of ``source`` as files, the splits that names of files and folders say, and what is not used."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fptkit.errors import DataError, SourceError
from fptkit.sources import shown_folder
from fptkit.sources.identity import is_metadata, walk
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.options import OwnDataOptions
from fptkit.tasks.reading.text import PACKED, file_type, unpacked_name

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""The split that a word in the name of a folder, file or key means, in lower case."""

_TESTS = re.compile(r"test[_-](.+)")


def split_of(name: str) -> str | None:
    """The split that a name says: ``train``, ``validation``, ``test`` or ``test_NAME``; None if it says none.

    Args:
        name: name of a folder, of a file without its ending, or of a key: ``val``, ``GunPoint_TRAIN``, ``x_train``.
    """
    lower = name.lower()
    if lower in SPLIT_WORDS:
        return SPLIT_WORDS[lower]
    if found := _TESTS.fullmatch(lower):
        return f"test_{found[1]}"
    return SPLIT_WORDS.get(re.split(r"[_\-.]", lower)[-1]) if re.search(r"[_\-.]", lower) else None


def own_splits(names: Iterable[str], where: str) -> dict[str, str]:
    """The split of each name, if the names make up splits; else empty.

    They do if one says ``train`` and another one ``validation`` or ``test``. Names that say no split are not in the
    result.

    Args:
        names: names of folders, of files without their endings, or of keys.
        where: what holds them, for messages.

    Raises:
        DataError: two names say the same split.
    """
    found = {name: split for name in sorted(names) if (split := split_of(name))}
    if "train" not in found.values() or len(set(found.values())) < 2:
        return {}
    doubled = [split for split, count in Counter(found.values()).items() if count > 1]
    if doubled:
        same = ", ".join(name for name, split in found.items() if split == doubled[0])
        raise DataError(f"{where}: several parts say that they are {doubled[0]}: {same}; rename or remove one")
    return found


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source.

    Args:
        splits: the files of each split by its name, or all under ``all``, in the order of their names. With class
            folders, files below them are included.
        passed_over: files that were found but are not read.
        notes: what the run header should say about them.
        base: for each file the folder or file that the source names.
    """

    splits: Mapping[str, tuple[Path, ...]]
    passed_over: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    base: Mapping[Path, Path] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read, without repetition."""
        return tuple(dict.fromkeys(file for files in self.splits.values() for file in files))


def find_files(
    source: Mapping[str, Sequence[str]], endings: Sequence[str], *, own: bool = True, deep: bool = True
) -> SourceFiles:
    """Find the files that a source names; a folder stands for the files in it that have one of the endings.

    A folder's own splits are its folders ``train``, ``val`` ..., or its files ``train.csv``, ``NAME_TEST.csv`` ... If
    the source names one file of such a pair, ``NAME_TRAIN.ts``, the others beside it are its own splits, too. Hidden
    files are skipped; other files that are not read are in ``passed_over``.

    Args:
        source: entries ``path:PLACE`` of each split, or of all examples under ``all``, as `PathSource` gives them.
            PLACE may be a pattern with ``*``, unless a file has exactly this name.
        endings: endings of files in this format, in lower case, such as ``.csv``; also matched before ``.gz`` and the
            like.
        own: whether to look for own splits; false pools everything.
        deep: whether files in folders below are read, too.

    Raises:
        SourceError: there is nothing at a place, or no file with one of the endings.
        DataError: a folder's own splits are ambiguous.
    """
    finder = _Finder(tuple(endings), deep)
    if set(source) == {"all"}:
        found = finder.pooled(source["all"], own)
    else:
        found = {split: finder.files(entries) for split, entries in source.items()}
    return SourceFiles(found, tuple(finder.passed_over), passed_over_notes(finder.passed_over), finder.base)


def files_of_entry(
    options: OwnDataOptions, entry: str, endings: Sequence[str], *, deep: bool = True
) -> tuple[Path, ...]:
    """The files that an entry of ``source`` stands for, for ``TaskSpec.files``.

    Args:
        options: options of the task.
        entry: one entry of its source.
        endings: as in `find_files`.
        deep: as in `find_files`.

    Raises:
        SourceError: there are none.
        DataError: a folder's own splits are ambiguous.
    """
    own = set(options.source) == {"all"} and options.split.own and options.split.column is None
    return find_files({"all": (entry,)}, endings, own=own, deep=deep).files


class _Finder:
    """Collects files, and what is passed over."""

    def __init__(self, endings: tuple[str, ...], deep: bool) -> None:
        self.endings, self.deep = endings, deep
        self.passed_over: list[Path] = []
        self.base: dict[Path, Path] = {}

    def files(self, entries: Sequence[str]) -> tuple[Path, ...]:
        """The files of some entries."""
        return tuple(file for entry in entries for place in places(entry) for file in self._at(place, entry))

    def pooled(self, entries: Sequence[str], own: bool) -> dict[str, tuple[Path, ...]]:
        """The files of a source that names no splits, by its own splits if it has some."""
        found = places(entries[0]) if len(entries) == 1 else []
        if own and len(found) == 1:
            place = found[0]
            parts = self._own_folder(place) if place.is_dir() else self._own_pair(place)
            if parts:
                return {split: self._at(part, entries[0], within=place) for split, part in parts.items()}
        return {"all": self.files(entries)}

    def _own_folder(self, folder: Path) -> dict[str, Path]:
        """The own splits of a folder: its folders, else its files."""
        children = [child for child in children_of(folder) if not is_metadata(child)]
        for parts in (
            {child.name: child for child in children if child.is_dir()},
            {_stem(child): child for child in children if child.is_file() and self._reads(child)},
        ):
            if splits := own_splits(parts, shown_folder(folder)):
                used = {parts[name] for name in splits}
                for child in children:
                    if child not in used:
                        self._pass_over(child, folder)
                return {split: parts[name] for name, split in splits.items()}
        return {}

    def _own_pair(self, file: Path) -> dict[str, Path]:
        """The files beside a file that are the other splits of the same data set: ``NAME_TEST`` for ``NAME_TRAIN``."""
        word = re.split(r"[_\-.]", _stem(file))[-1]
        if SPLIT_WORDS.get(word.lower()) != "train":
            return {}
        begin, ending = _stem(file)[: -len(word)], file.name[len(_stem(file)) :]
        beside = {
            _stem(other): other
            for other in children_of(file.parent)
            if other.is_file() and other.name.startswith(begin) and other.name.endswith(ending)
            if split_of(_stem(other)[len(begin) :]) and not is_metadata(other)
        }
        splits = own_splits(beside, shown_folder(file.parent))
        return {split: beside[name] for name, split in splits.items()}

    def _at(self, place: Path, entry: str, within: Path | None = None) -> tuple[Path, ...]:
        """The files at a place: itself, or those in it."""
        if place.is_file():
            self.base[place] = place
            return (place,)
        found = []
        for child in walk(place, self.passed_over, within=within):
            if self._reads(child) and (self.deep or child.parent == place):
                found.append(child)
            else:
                self.passed_over.append(child)
        if not found:
            seen = f"; it has {_counted(self.passed_over)}" if self.passed_over else ""
            raise SourceError(
                "task.source",
                [(entry, f"no file {', '.join(filter(None, self.endings))} in {shown_folder(place)}{seen}")],
            )
        self.base.update(dict.fromkeys(found, place))
        return tuple(found)

    def _reads(self, path: Path) -> bool:
        return file_type(path) in self.endings or path.suffix.lower() in self.endings

    def _pass_over(self, place: Path, within: Path) -> None:
        self.passed_over += list(walk(place, self.passed_over, within=within)) if place.is_dir() else [place]


def places(entry: str) -> list[Path]:
    """The files or folders that an entry ``path:PLACE`` names; a file of exactly this name comes before a pattern.

    Raises:
        SourceError: there are none, or they cannot be looked at.
        DataError: it is a pipe or device.
    """
    text = entry.removeprefix("path:").strip()
    try:
        path = Path(text).expanduser()
        if path.is_file() or path.is_dir():
            return [path]
        other = path.exists()
    except (OSError, RuntimeError) as err:  # a folder above it is locked, the name is too long; no such user's home
        raise SourceError(
            "task.source", [(entry, str(getattr(err, "strerror", "") or err))], "Check the path."
        ) from err
    if other:
        raise DataError(f"{path}: neither a file nor a folder, but a pipe or device; copy its content to a file")
    if any(sign in text for sign in "*?"):
        matching = sorted(glob.glob(str(path), recursive=True))
        found = [Path(name) for name in matching if os.path.isfile(name) or os.path.isdir(name)]
        if found := [place for place in found if not is_metadata(place)]:
            return found
        raise SourceError("task.source", [(entry, "no file or folder has a name of this pattern")], "Check the path.")
    raise SourceError("task.source", [(entry, f"there is no file or folder {shown_folder(path)}")], "Check the path.")


def children_of(folder: Path) -> list[Path]:
    """What is in a folder, in the order of names.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        found = sorted(folder.iterdir())
        for first in found[:1]:
            first.lstat()  # fails if only the names may be read
        return found
    except OSError as err:
        raise DataError(f"{folder}: cannot be read ({err.strerror or err}); check its permissions") from err


def inner_folder(place: Path) -> Path:
    """The folder that a place stands for: the only thing in it, if that is a folder that names no split."""
    seen: set[str] = set()
    while place.is_dir() and (real := os.path.realpath(place)) not in seen:
        seen.add(real)
        inside = [child for child in children_of(place) if not is_metadata(child)]
        if len(inside) != 1 or not inside[0].is_dir() or split_of(inside[0].name):
            return place
        if not any(child.is_dir() for child in children_of(inside[0])):  # one class folder, not a folder of them
            return place
        place = inside[0]
    return place


def splits_below(files: Sequence[Path], parts: Mapping[Path, tuple[str, ...]]) -> dict[str, tuple[Path, ...]]:
    """The splits of files in ``CLASS/train/``, ``CLASS/test/``; empty if not all are in such folders.

    Args:
        files: files in class folders.
        parts: for each, the folders from the source to it, the class folder first.

    Raises:
        DataError: two folders say the same split.
    """
    if any(len(parts[file]) < 2 for file in files):
        return {}
    names = {parts[file][1] for file in files}
    splits = own_splits(names, "folders inside the class folders") if all(map(split_of, names)) else {}
    found: dict[str, list[Path]] = {}
    for file in files if splits else ():
        found.setdefault(splits[parts[file][1]], []).append(file)
    return {split: tuple(some) for split, some in found.items()}


def empty_folders(found: SourceFiles, used: Mapping[Path, tuple[str, ...]], what: str) -> tuple[str, ...]:
    """A warning about folders where a class is expected, but no file that is read.

    Args:
        found: all files of the source.
        used: for each file that is used, the folders from the source to it.
        what: what the files are, in the plural.
    """
    filled = {found.base[file] / folders[0] for file, folders in used.items()}
    bases = {found.base[file] for file in used}
    empty = [
        str(child.relative_to(base.parent))
        for base in sorted(bases)
        for child in children_of(base)
        if child.is_dir() and not is_metadata(child) and child not in filled
    ]
    return (f"folders without {what}, which are no classes: {shown(empty)}",) if empty else ()


def passed_over_notes(files: Sequence[Path]) -> tuple[str, ...]:
    """A note about files that are not read, with their number by ending; none if there are none."""
    return (f"{len(files):,} files passed over: {_counted(files)}",) if files else ()


def _counted(files: Sequence[Path]) -> str:
    counts = Counter(_kind(path) for path in files)
    return ", ".join(
        f"{ending} {count:,}" for ending, count in sorted(counts.items(), key=lambda item: (-item[1], item))
    )


def _kind(path: Path) -> str:
    """What a file that is passed over is, for counting."""
    if path.is_file():
        return path.suffix.lower() or "without an ending"
    return "links to nothing or in circles" if path.is_symlink() or path.is_dir() else "pipes or devices"


def _stem(path: Path) -> str:
    """The name without the endings of format and packing."""
    return Path(unpacked_name(path) if path.suffix.lower() in PACKED else path.name).stem


def shown_source(source: Mapping[str, Sequence[str]]) -> str:
    """A source as one text, for tables and summaries: as it is written in a recipe."""
    if set(source) == {"all"}:
        return ", ".join(source["all"])
    return ", ".join(f"{split} {' '.join(entries)}" for split, entries in source.items())
