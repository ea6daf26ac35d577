"""New images for a run of an image task, labelled or not: npz, npy, MNIST's and CIFAR-10's own files, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.interfaces import Examples
from fptkit.tasks.arrays.files import read_arrays
from fptkit.tasks.arrays.names import Wanted, roles
from fptkit.tasks.images.folders import find_pictures
from fptkit.tasks.images.readers import (
    CIFAR_FILES,
    IDX_FILES,
    Form,
    checked_images,
    idx_file,
    read_cifar_batch,
    read_idx,
)
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.paths import inner_folder, places

LABEL = "label"
"""Name of the only target."""

_ARRAYS = (".npz", ".npy")


def read_new_images(source: Sequence[str], form: Form, classes: Sequence[str]) -> Examples:
    """Read images. Content: (H, W, C) uint8, or the path of a picture, which is decoded later.

    Args:
        source: entries ``path:PLACE``; all are read.
        form: required shape.
        classes: names of the classes, which folders of pictures may have; empty if classes are numbers.

    Raises:
        SourceError: there is nothing at a place, or no image.
        DataError: a file is damaged, or its images have another shape.
    """
    parts = [part for entry in source for place in places(entry) for part in _at(place, form, classes)]
    labelled = all(part.labels for part in parts)
    content = [one for part in parts for one in part.content]
    names = [name for part in parts for name in part.names]
    labels = {LABEL: [cell for part in parts for cell in part.labels[LABEL]]} if labelled else {}
    return Examples(content, names, labels, notes=tuple(note for part in parts for note in part.notes))


def _at(place: Path, form: Form, classes: Sequence[str]) -> Iterator[Examples]:
    """The images at a place."""
    if place.is_file() and place.suffix.lower() in _ARRAYS:
        yield from _of_arrays(place, form)
    elif place.is_file() and place.name in {name for some in CIFAR_FILES.values() for name in some}:
        yield _of_cifar(place, form)
    elif place.is_file():
        yield _of_pictures(place, classes)
    elif found := _idx_pairs(place):
        for images, labels in found:
            yield _of_idx(images, labels, form)
    elif batches := _cifar_batches(place):
        for batch in batches:
            yield _of_cifar(batch, form)
    else:
        arrays = sorted(path for path in place.iterdir() if path.suffix.lower() in _ARRAYS)
        for path in arrays:
            yield from _of_arrays(path, form)
        if not arrays:
            yield _of_pictures(place, classes)


def _of_arrays(path: Path, form: Form) -> Iterator[Examples]:
    """Images of all splits of an npz file; labels if they are there."""
    arrays = read_arrays(path)
    found, _ = roles(list(arrays), Wanted(unlabelled=True), str(path))
    for some in found.values():
        where = f"{path}, {some.x}"
        images = checked_images(np.asarray(arrays[some.x]), form, where)
        labels = _numbers(np.asarray(arrays[some.y[0]]), len(images), f"{path}, {some.y[0]}") if some.y else None
        yield _examples(images, labels, where)


def _numbers(labels: NDArray[Any], count: int, where: str) -> list[str]:
    """Labels as cells."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,) or labels.dtype.kind not in "iuUS":
        raise DataError(
            f"{where}: labels are {labels.dtype} of shape {labels.shape}, expected ({count},) whole numbers"
        )
    return [str(label) for label in labels.tolist()]


def _of_cifar(path: Path, form: Form) -> Examples:
    some = read_cifar_batch(path, form)
    return _examples(some.images, [str(label) for label in some.labels.tolist()], str(path))


def _of_idx(images: Path, labels: Path | None, form: Form) -> Examples:
    found = checked_images(read_idx(images), form, str(images))
    cells = None if labels is None else _numbers(read_idx(labels), len(found), str(labels))
    return _examples(found, cells, str(images))


def _examples(images: NDArray[np.uint8], labels: list[str] | None, where: str) -> Examples:
    names = [f"{where}[{row}]" for row in range(len(images))]
    return Examples(list(images), names, {} if labels is None else {LABEL: labels})


def _of_pictures(place: Path, classes: Sequence[str]) -> Examples:
    """Pictures in a folder and below; labelled if each is in a folder that is named as a class."""
    found = find_pictures({"all": (f"path:{inner_folder(place)}",)}, own=False)
    cells = [_class_of(file.relative_to(found.base[file]).parts[:-1], classes) for file in found.files]
    labels = {LABEL: [cell for cell in cells if cell is not None]} if None not in cells else {}
    return Examples(list(map(str, found.files)), list(map(str, found.files)), labels, notes=found.notes)


def _class_of(folders: Sequence[str], classes: Sequence[str]) -> str | None:
    return next((name for name in map(same_label, folders) if name in classes), None)


def _idx_pairs(folder: Path) -> list[tuple[Path, Path | None]]:
    """Images of each split that are in a folder with MNIST's names, and their labels if they are there."""
    found = [(idx_file(folder, images), idx_file(folder, labels)) for images, labels in IDX_FILES.values()]
    return [(images, labels) for images, labels in found if images is not None]


def _cifar_batches(folder: Path) -> list[Path]:
    inside = folder / "cifar-10-batches-py"
    base = inside if inside.is_dir() else folder
    return [base / name for some in CIFAR_FILES.values() for name in some if (base / name).is_file()]
