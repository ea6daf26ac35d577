"""fptkit's caches and downloads: where they are, how large, and how they are emptied. Imports no torch.

Only files that fptkit itself writes are ever removed: each cache knows the names of its files and folders, everything
else in the same folder stays, and links are not followed. What is in use by another process stays, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fptkit.engine.cache.store import cache_folder
from fptkit.numerics.library_cache import kernel_folder
from fptkit.sources.choice import data_folder
from fptkit.sources.data_sets import MANIFEST, data_set_names, status
from fptkit.sources.packages import PACKAGES

_PART = r"\..+\.[0-9a-f]{12}\.part"
"""Names of files that `fptkit.files.replacing` has not finished."""

_ABANDONED_S = 86_400
"""Age in seconds from which the writer of such a file is taken for dead."""

_LOCK = ".lock"

_FEATURES = ("features.json", "features.part.json", "features", "features.part")
_CONVERTED = ("config.json", "model.safetensors", "tokenizer.json", "manifest.json")

_MNIST = [
    f"{name}{ending}"
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    for ending in ("-ubyte", "-ubyte.gz", "-ubyte.gz.part", "-ubyte.gz.part.json")
]
_CIFAR10 = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta", "readme.html"]
_CIFAR10_FOLDER = "cifar-10-batches-py"
_TORCHVISION = {
    "MNIST/raw": _MNIST,
    "": [f"cifar-10-python.tar.gz{ending}" for ending in ("", ".part", ".part.json")],
    _CIFAR10_FOLDER: _CIFAR10,
}
"""torchvision's files by their folder below its own, see `fptkit.tasks.images.fetch`."""


@dataclass(frozen=True)
class Item:
    """What is removed as a whole.

    Args:
        name: how it is shown.
        files: its files, in the order in which they are removed.
        folder: removed if it is empty afterwards; None for single files.
        lock: lock file of the processes that use it; None if a removed file disturbs nobody.
        size: bytes on disk.
    """

    name: str
    files: tuple[Path, ...]
    folder: Path | None = None
    lock: Path | None = None
    size: int = 0


@dataclass(frozen=True)
class Cache:
    """One cache.

    Args:
        name: its name, as in the options of ``fptkit clean``.
        holds: what it holds, and what it costs to lose it.
        folder: its folder, which may not exist; None if no home folder is known.
        items: what can be removed.
        problem: why it cannot be read; empty if it can.
    """

    name: str
    holds: str
    folder: Path | None
    items: tuple[Item, ...] = ()
    problem: str = ""

    @property
    def size(self) -> int:
        """Bytes of all items."""
        return sum(item.size for item in self.items)


def all_caches() -> list[Cache]:
    """Every cache of fptkit with its content.

    Raises:
        UsageError: the folder of data or caches cannot be determined, see `fptkit.sources.choice.user_folder`.
    """
    data = data_folder()
    described: list[tuple[str, str, Path | None, Callable[[Path], Iterable[Item]]]] = [
        ("kernels", "compiled CPU kernels; compiled again in seconds", kernel_folder(), _kernels),
        ("features", "cached features; computed again", cache_folder(), _features),
        ("conversions", "GGUF files converted to safetensors; converted again", data / "gguf", _conversions),
        ("digests", "digests of data files; computed again", data / "digests", _digests),
        ("downloads", "data sets and weights that were downloaded; downloaded again", data, _downloads),
    ]
    return [_read(*one) for one in described]


def _read(name: str, holds: str, folder: Path | None, items_of: Callable[[Path], Iterable[Item]]) -> Cache:
    if folder is None:
        return Cache(name, holds, None, problem="no home folder is known, so nothing is cached")
    try:
        return Cache(name, holds, folder, tuple(items_of(folder)))
    except OSError as err:
        return Cache(name, holds, folder, problem=f"cannot be read: {err.strerror or err}")


def remove(item: Item) -> str:
    """Remove an item, unless another process uses it.

    Returns:
        Why it, or a part of it, is still there; empty if it is gone.
    """
    import filelock

    lock = filelock.FileLock(item.lock, timeout=0) if item.lock is not None else contextlib.nullcontext()
    try:
        with lock:
            for file in item.files:
                file.unlink(missing_ok=True)
            if item.lock is not None:
                item.lock.unlink(missing_ok=True)
        if item.folder is not None:
            with contextlib.suppress(OSError):  # it holds files that are not fptkit's
                item.folder.rmdir()
    except filelock.Timeout:  # an OSError too, so it comes first
        return "is in use by another process"
    except OSError as err:
        return f"cannot be removed: {err.strerror or err}"
    return ""


def _kernels(folder: Path) -> Iterator[Item]:
    yield from _single_files(folder, r"[a-z_]+-[0-9a-f]{16}\.so(\.sha256)?")


def _features(folder: Path) -> Iterator[Item]:
    for entry in _entries(folder, re.compile(r"[0-9a-f]{32}")):
        if _is_folder(entry):
            yield _folder_item(Path(entry), _FEATURES, lock=Path(entry, _LOCK))


def _conversions(folder: Path) -> Iterator[Item]:
    digest = r"[0-9a-f]{32}-\d+"
    for entry in _entries(folder, re.compile(rf"{digest}|\.{digest}\.[0-9a-f]{{12}}\.part")):
        if _is_folder(entry):
            stem = entry.name if not entry.name.startswith(".") else entry.name[1:].partition(".")[0]
            yield _folder_item(Path(entry), _CONVERTED, lock=folder / f".{stem}.lock")


def _digests(folder: Path) -> Iterator[Item]:
    yield from _single_files(folder, r"[0-9a-f]{32}\.json")


def _single_files(folder: Path, pattern: str) -> Iterator[Item]:
    """The files of a folder whose names match, and what killed processes left of such files, as one item."""
    entries = _entries(folder, re.compile(rf"{pattern}|{_PART}"))
    files = [Path(one) for one in entries if one.is_file(follow_symlinks=False) and not _may_be_in_use(one)]
    if files:
        yield _item(f"{len(files)} files in {folder}", files)


def _may_be_in_use(entry: os.DirEntry[str]) -> bool:
    """Whether another process may still be writing a file that has not got its name yet."""
    young = time.time() - entry.stat(follow_symlinks=False).st_mtime < _ABANDONED_S
    return young and re.fullmatch(_PART, entry.name) is not None


def _downloads(folder: Path) -> Iterator[Item]:
    """Data sets that fptkit fetched (not those put there by hand), torchvision's, and files of packages."""
    for name in data_set_names():
        place = folder / name
        found = status(name, folder=place)
        recorded = found.manifest.get("files")
        fetched = [*recorded, MANIFEST] if isinstance(recorded, dict) else []
        partial = [f"{name}.download{ending}" for ending in ("", ".part", ".part.json")]
        item = _folder_item(place, [*partial, *fetched], lock=place / _LOCK)
        if item.files:
            yield item
    for inner, names in _TORCHVISION.items():
        place = folder / "torchvision" / inner
        item = _folder_item(place, names, lock=place / (_LOCK if inner else f"{_CIFAR10_FOLDER}/{_LOCK}"))
        if item.files:
            yield item
    kept = "|".join(rf"{re.escape(name)}-[0-9][\w.]*" for name in PACKAGES)
    for entry in _entries(folder / "packages", re.compile(kept)):
        if _is_folder(entry):
            names = [Path(package.file).name for package in PACKAGES.values()]
            yield _folder_item(Path(entry), names, lock=Path(entry, _LOCK))


def _folder_item(folder: Path, names: Iterable[str], *, lock: Path | None) -> Item:
    """The files of these names in a folder."""
    files = [folder / name for name in names if Path(name).name == name and _is_regular(folder / name)]
    return _item(str(folder), files, folder=folder, lock=lock if lock and lock.parent.is_dir() else None)


def _item(name: str, files: Iterable[Path], *, folder: Path | None = None, lock: Path | None = None) -> Item:
    files = tuple(files)
    return Item(name, files, folder, lock, sum(_size(file) for file in files))


def _entries(folder: Path, pattern: re.Pattern[str]) -> list[os.DirEntry[str]]:
    """Entries of a folder whose whole name matches, by name; none if the folder is missing."""
    try:
        with os.scandir(folder) as entries:
            return sorted((one for one in entries if pattern.fullmatch(one.name)), key=lambda one: one.name)
    except FileNotFoundError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):  # removed meanwhile
        return path.lstat().st_size
    return 0


def torchvision_sets() -> dict[str, tuple[Path, list[str]]]:
    """For each data set that tasks take from torchvision: its folder, and the names of files that are missing there."""
    root = data_folder() / "torchvision"
    wanted = {
        "mnist": ("MNIST/raw", [name for name in _MNIST if name.endswith(".gz")]),
        "cifar10": (_CIFAR10_FOLDER, [name for name in _CIFAR10 if "_batch" in name]),
    }
    return {
        task: (root / inner, [name for name in names if not (root / inner / name).is_file()])
        for task, (inner, names) in wanted.items()
    }


def hub_cache() -> Path:
    """The cache of huggingface_hub, which is not fptkit's alone: its own command ``hf cache`` empties it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def size_of(folder: Path, *, most: int = 200_000) -> tuple[int, bool]:
    """Bytes of the files in a folder and below; links are not followed.

    Args:
        folder: the folder; it may be missing.
        most: number of files after which counting ends.

    Returns:
        The size, and whether all files were counted.
    """
    total, seen, waiting = 0, 0, [os.fspath(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                total += entry.stat(follow_symlinks=False).st_size
                seen += 1
                if seen >= most:
                    return total, False
    return total, True


def shown_size(count: float) -> str:
    """Bytes in a readable unit: ``0 B``, ``12.3 MiB``, ``1.25 GiB``."""
    if count >= 2**30:
        return f"{count / 2**30:,.2f} GiB"
    if count >= 2**20:
        return f"{count / 2**20:,.1f} MiB"
    return f"{count / 2**10:,.1f} KiB" if count >= 2**10 else f"{count:,.0f} B"
