"""Reader of the training and test series of a classification problem."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fptkit.errors import DataError
from fptkit.sources import Unavailable, shown_folder
from fptkit.tasks.reading.labels import find_classes, same_label
from fptkit.tasks.series.ts_file import read_ts
from fptkit.tasks.series.tsv import read_tsv
from fptkit.tasks.series.values import SeriesFile
from fptkit_timeseries.arrays import read_labelled
from fptkit_timeseries.find import ENDINGS, place_of
from fptkit_timeseries.series import LabelledSeries, channel_counts

_READERS = {".ts": read_ts, ".tsv": read_tsv}
ADVICE = (
    "Use your own files (source: path:FILE_OR_DIR): NAME_TRAIN.ts with NAME_TEST.ts, or .tsv, or an .npz.\n"
    "The archives are at https://www.timeseriesclassification.com; unpack a data set to\n"
    "$FPTKIT_DATA/time_series/NAME for source: archive:NAME. Or list 'simulated' as a further source."
)


def open_source(entry: str) -> tuple[dict[str, LabelledSeries], int]:
    """Read the splits ``train`` and ``test`` of a source ``archive:NAME`` or ``path:PLACE``, and the number of classes.

    Raises:
        Unavailable: a file or folder is missing.
        DataError: a file is damaged or in another format, or train and test do not fit together.
    """
    path = place_of(entry)
    if not path.exists():
        raise Unavailable(f"there is no file or folder {shown_folder(path)}")
    splits, classes = _read(path)
    channels = channel_counts([*splits["train"].series, *splits["test"].series])
    if len(channels) > 1:
        raise DataError(f"{path}: train and test differ in channels: {', '.join(map(str, sorted(channels)))}")
    return splits, classes


def _read(path: Path) -> tuple[dict[str, LabelledSeries], int]:
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".npz":
        return read_labelled(path)
    if path.suffix not in _READERS:
        raise DataError(f"{path}: expected a folder, an .npz file, or NAME_TRAIN.ts or .tsv")
    stem = path.stem
    for ending in ENDINGS:
        if stem.endswith(ending):
            return _read_pair(path.parent, stem.removesuffix(ending), path.suffix)
    raise DataError(f"{path}: the name must end in _TRAIN{path.suffix}, with the test series in a file _TEST")


def _read_folder(folder: Path) -> tuple[dict[str, LabelledSeries], int]:
    """Read the single data set of a folder; of several formats, ``.ts`` is preferred to ``.tsv``, then ``.npz``."""
    for suffix in _READERS:
        found = sorted(path.stem.removesuffix("_TRAIN") for path in folder.glob(f"*_TRAIN{suffix}"))
        if len(found) > 1:
            raise DataError(
                f"{folder}: several data sets ({', '.join(found)}); set the source to a file of one of them"
            )
        if found:
            return _read_pair(folder, found[0], suffix)
    arrays = sorted(folder.glob("*.npz"))
    if len(arrays) != 1:
        raise Unavailable(
            f"{shown_folder(folder)} has no NAME_TRAIN.ts, no NAME_TRAIN.tsv, and {len(arrays)} .npz instead of one"
        )
    return read_labelled(arrays[0])


def _read_pair(folder: Path, name: str, suffix: str) -> tuple[dict[str, LabelledSeries], int]:
    paths = {split: folder / f"{name}_{split.upper()}{suffix}" for split in ("train", "test")}
    for path in paths.values():
        if not path.is_file():
            raise Unavailable(f"there is no file {shown_folder(path)}")
    files = {split: _READERS[suffix](path) for split, path in paths.items()}
    classes = _classes(files["train"], paths["train"])
    if (declared := files["test"].classes) and set(declared) != set(classes):
        raise DataError(
            f"{paths['test']}: the header declares classes {', '.join(declared)}, but that of {paths['train'].name} "
            f"{', '.join(classes)}"
        )
    return {split: _numbered(file, classes, paths[split]) for split, file in files.items()}, len(classes)


def _classes(train: SeriesFile, path: Path) -> tuple[str, ...]:
    """Return the classes in order: as declared, otherwise sorted as numbers or as text."""
    if train.classes:
        return train.classes
    if train.labels and path.suffix == ".ts":
        raise DataError(f"{path}: numeric targets instead of classes; use fptkit's own task series")
    return find_classes(train.labels, str(path)).names


def _numbered(file: SeriesFile, classes: tuple[str, ...], path: Path) -> LabelledSeries:
    number = {same_label(label): place for place, label in enumerate(classes)}
    if not file.labels:
        raise DataError(f"{path}: the series have no classes")
    for label, line in zip(file.labels, file.lines, strict=True):
        if same_label(label) not in number:
            raise DataError(f"{path}:{line}: unknown class {label!r}; the training series have {', '.join(classes)}")
    return LabelledSeries(file.series, np.array([number[same_label(label)] for label in file.labels], np.int64))
