"""Readers of labelled images: npz archives, MNIST's IDX files, CIFAR-10's batches, folders of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError, SourceError
from fptkit.sources import Unavailable, shown_folder
from fptkit.sources.decoding import decoding
from fptkit.sources.plain_pickle import loads
from fptkit.tasks.images.folders import class_folders
from fptkit.tasks.images.pictures import Picture, in_threads, picture_notes, read_picture
from fptkit.tasks.reading.numpy_files import read_npz
from fptkit.tasks.reading.options import SPLIT_NAMES
from fptkit.tasks.reading.paths import own_splits, split_of
from fptkit.tasks.reading.text import open_bytes

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""MNIST's own file names: images and labels of each split. Each may end in ``.gz``."""

_MOST_CLASSES = 1_000_000

CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_FILES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
"""Names in CIFAR-10's archive for Python."""

LAYOUTS = (
    "a file .npz with x_train, y_train, x_test, y_test; or a folder with MNIST's IDX files, with CIFAR-10's "
    "data_batch_1 ... test_batch, or with pictures in train/CLASS and test/CLASS"
)


@dataclass(frozen=True)
class Form:
    """The image shapes that a task accepts.

    Args:
        side: height and width in pixels.
        channels: accepted numbers of channels; pictures are read with the first of them.
    """

    side: int
    channels: tuple[int, ...]

    def __str__(self) -> str:
        shapes = [f"{self.side} x {self.side}" + (f" x {count}" if count > 1 else "") for count in self.channels]
        return " or ".join(shapes)


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split.

    Args:
        images: (N, H, W, C) uint8.
        labels: (N,) int64 classes, from 0.
        notes: what was left out, or is unusual.
        classes: names of the classes, if the files have names for them.
    """

    images: Bytes
    labels: Integers
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def read_images(path: Path, form: Form) -> dict[str, LabelledImages]:
    """Read the splits ``train`` and ``test`` from a file or folder in any of the `LAYOUTS`.

    Args:
        path: file or folder.
        form: required shape of the images.

    Raises:
        Unavailable: the path does not exist, has no known layout, or lacks a file of its layout.
        DataError: a file is damaged or holds anything but images of this shape.
    """
    if path.is_file():
        if path.suffix != ".npz":
            raise DataError(f"{path}: unknown file type; expected {LAYOUTS}")
        return _read_npz(path, form)
    if not path.is_dir():
        raise Unavailable(f"there is no file or folder {shown_folder(path)}")
    if any(idx_file(path, name) for names in IDX_FILES.values() for name in names):
        return read_idx_folder(path, form)
    batches = path / CIFAR_FOLDER if (path / CIFAR_FOLDER).is_dir() else path
    if any((batches / name).is_file() for names in CIFAR_FILES.values() for name in names):
        return read_cifar_folder(batches, form)
    if (path / "train").is_dir() or (path / "test").is_dir():
        return _read_pictures(path, form)
    raise Unavailable(f"{shown_folder(path)} holds no images in a known layout; expected {LAYOUTS}")


def checked(images: NDArray[np.generic], labels: NDArray[np.generic], form: Form, where: str) -> LabelledImages:
    """Check images and labels against what the task accepts.

    Shapes: images (N, H, W) or (N, H, W, C), labels (N,) or (N, 1).

    Args:
        images: uint8 pixels.
        labels: integers >= 0, one per image.
        form: required shape of the images.
        where: the file, for messages.

    Raises:
        DataError: shape, dtype, number or range is wrong.
    """
    images = checked_images(images, form, where)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{where}: labels are {labels.dtype} of shape {labels.shape}, expected N whole numbers")
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images):,} images but {len(labels):,} labels")
    if not len(labels):
        raise DataError(f"{where}: no images")
    if labels.min() < 0:
        raise DataError(f"{where}: label {labels.min()} is negative")
    if labels.max() >= _MOST_CLASSES:
        raise DataError(f"{where}: label {labels.max()} is too large; number the classes from 0 without gaps")
    return LabelledImages(images, labels.astype(np.int64))


def checked_images(images: NDArray[np.generic], form: Form, where: str) -> Bytes:
    """Check images against what the task accepts. Shapes: (N, H, W) or (N, H, W, C) -> (N, H, W, C).

    Args:
        images: uint8 pixels.
        form: required shape of the images.
        where: the file, for messages.

    Raises:
        DataError: shape or dtype is wrong.
    """
    if images.dtype != np.uint8:
        raise DataError(f"{where}: images are {images.dtype}, expected uint8 (0 to 255)")
    shape = images.shape
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[1:3] != (form.side, form.side) or images.shape[3] not in form.channels:
        raise DataError(f"{where}: images have shape {shape}, expected N x {form}")
    return np.ascontiguousarray(images, np.uint8)


# npz

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def _read_npz(path: Path, form: Form) -> dict[str, LabelledImages]:
    arrays = read_npz(path, _ARRAYS)
    if missing := [name for name in _ARRAYS if name not in arrays]:
        raise DataError(f"{path}: the arrays {', '.join(missing)} are missing")
    return {
        split: checked(arrays[f"x_{split}"], arrays[f"y_{split}"], form, f"{path}, x_{split} and y_{split}")
        for split in ("train", "test")
    }


# IDX, http://yann.lecun.com/exdb/mnist: two zero bytes, a type, the number of dimensions, each dimension as a 32-bit
# number (big-endian), then the numbers themselves.

_IDX_BYTE = 0x08
_CHUNK = 1 << 20


def idx_file(folder: Path, name: str) -> Path | None:
    """One of MNIST's files in a folder, packed or not, in either spelling; None if it is not there."""
    spelled = (name, name.replace("-idx", ".idx"))  # the second is how some archives unpack them
    for candidate in (spelling + ending for spelling in spelled for ending in ("", ".gz")):
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def read_idx_folder(folder: Path, form: Form, *, packed: bool = False) -> dict[str, LabelledImages]:
    """Read both splits from a folder with MNIST's four files.

    Args:
        folder: the folder.
        form: required shape of the images.
        packed: read the gzipped files even if there are unpacked ones too.

    Raises:
        Unavailable: a file is missing.
        DataError: a file is damaged, or the files do not belong together.
    """
    names = [name for some in IDX_FILES.values() for name in some]
    found = {name: path for name in names if (path := idx_file(folder, name + ".gz" if packed else name))}
    if missing := [name for name in names if name not in found]:
        raise Unavailable(f"{shown_folder(folder)} lacks {', '.join(missing)} (or the same with .gz)")
    splits = {}
    for split, (images, labels) in IDX_FILES.items():
        where = f"{found[images]} and {found[labels].name}"
        splits[split] = checked(read_idx(found[images]), read_idx(found[labels]), form, where)
    return splits


def read_idx(path: Path) -> Bytes:
    """Read an array of bytes from an IDX file, gzipped or not.

    Raises:
        DataError: the file is damaged, truncated, or holds numbers of another type.
    """
    with open_bytes(path) as file:
        begin = file.read(4)
        if len(begin) < 4 or begin[:2] != b"\0\0":
            raise DataError(
                f"{path}: not an IDX file: it begins with {begin.hex(' ') or 'nothing'}, expected 00 00; "
                "fetch or copy it again"
            )
        kind, dimensions = begin[2], begin[3]
        if kind != _IDX_BYTE:
            raise DataError(f"{path}: an IDX file of type 0x{kind:02x}, expected 0x08, bytes; fetch or copy it again")
        header = file.read(4 * dimensions)
        if not 1 <= dimensions <= 4 or len(header) < 4 * dimensions:
            raise DataError(f"{path}: an IDX file of {dimensions} dimensions with a short header; fetch it again")
        return _idx_numbers(path, file, tuple(int(size) for size in np.frombuffer(header, ">u4")))


def _idx_numbers(path: Path, file: IO[bytes], shape: tuple[int, ...]) -> Bytes:
    """The numbers after the header. Not more of the file is read than its header says, and one byte."""
    count = math.prod(shape)
    found = bytearray()
    while len(found) <= count and (piece := file.read(min(count + 1 - len(found), _CHUNK))):
        found += piece
    if len(found) != count or not count:
        there = "more" if len(found) > count else f"{len(found):,}"
        size = " x ".join(map(str, shape))
        raise DataError(
            f"{path}: its header says {size} = {count:,} bytes of numbers, but there are {there}; copy it again"
        )
    return np.frombuffer(found, np.uint8).reshape(shape)


# CIFAR-10's pickles: dicts with ``data`` (N, 3072), each row red, then green, then blue, and ``labels``.


def read_cifar_folder(folder: Path, form: Form) -> dict[str, LabelledImages]:
    """Read both splits of CIFAR-10's archive for Python, without executing code in its pickles.

    Raises:
        Unavailable: a file is missing.
        DataError: a file is damaged, would execute code, or holds something else.
    """
    names = [name for some in CIFAR_FILES.values() for name in some]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise Unavailable(f"{shown_folder(folder)} lacks {', '.join(missing)}")
    splits = {}
    for split, some in CIFAR_FILES.items():
        parts = [read_cifar_batch(folder / name, form) for name in some]
        splits[split] = LabelledImages(
            np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])
        )
    return splits


def read_cifar_batch(path: Path, form: Form) -> LabelledImages:
    """Read one of CIFAR-10's files, without executing code in it.

    Raises:
        DataError: it is damaged, would execute code, or holds something else.
    """
    with decoding(path, "a batch of CIFAR-10"):
        content = loads(path.read_bytes())
    data, labels = (content.get(key) for key in ("data", "labels")) if isinstance(content, dict) else (None, None)
    whole = isinstance(labels, list) and all(isinstance(label, int) for label in labels)
    if not isinstance(data, np.ndarray) or not whole:
        raise DataError(f"{path}: expected an array 'data' and a list of whole numbers 'labels'")
    if data.ndim != 2 or data.shape[1] != 3 * 32 * 32:
        raise DataError(f"{path}: 'data' has shape {data.shape}, expected N x 3072")
    return checked(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels), form, str(path))


# Pictures


def _read_pictures(folder: Path, form: Form) -> dict[str, LabelledImages]:
    """Read ``train/CLASS/*`` and ``test/CLASS/*``; classes are numbered in alphabetical order.

    ``validation/CLASS/*`` is a split of its own, if it exists. The splits may have other names, see `split_of`.
    """
    inside = [path.name for path in folder.iterdir() if path.is_dir()]
    names = own_splits(inside, str(folder)) or {name: split for name in inside if (split := split_of(name))}
    found = {split: folder / name for name, split in names.items() if split in SPLIT_NAMES}
    if missing := [f"{name}/" for name in ("train", "test") if name not in found]:
        raise Unavailable(f"{shown_folder(folder)} lacks {', '.join(missing)}")
    try:
        folders = class_folders({split: (f"path:{place}",) for split, place in found.items()})
    except SourceError as err:
        raise DataError(f"{folder}: {'; '.join(reason for _, reason in err.tried)}") from err
    files, classes = folders.files.splits, folders.classes
    known = sorted({classes[file] for file in files["train"]})
    if len(known) < 2:
        raise DataError(f"{found['train']}: expected a folder for each class, with pictures, found {len(known)}")
    for split, some in files.items():
        if unseen := [classes[file] for file in some if classes[file] not in known]:
            raise DataError(f"{found[split] / unseen[0]}: train/ has no class of this name")
    labels = {split: np.array([known.index(classes[file]) for file in some]) for split, some in files.items()}
    pictures = {split: _decoded(some, form) for split, some in files.items()}
    notes = (*folders.files.notes, *folders.warnings, *picture_notes([p for some in pictures.values() for p in some]))
    splits = {
        split: checked(
            np.stack([np.asarray(picture.image) for picture in some]), labels[split], form, str(found[split])
        )
        for split, some in pictures.items()
    }
    return {**splits, "train": replace(splits["train"], notes=notes, classes=tuple(known))}


def _decoded(files: Sequence[Path], form: Form) -> list[Picture]:
    """The pictures of a split, of the size that the task accepts."""

    def read(path: Path) -> Picture:
        picture = read_picture(path, colour="L" if form.channels[0] == 1 else "RGB")
        width, height = picture.image.size
        if (width, height) != (form.side, form.side):
            raise DataError(f"{path}: a picture of {width} x {height} pixels, expected {form.side} x {form.side}")
        return picture

    return in_threads(read, files)
