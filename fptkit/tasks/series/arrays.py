"""Series in ``.npz`` files."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.tasks.reading import numpy_files
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.paths import own_splits, split_of
from fptkit.tasks.series.values import Read, Series, without_missing_end

Arrays = Mapping[str, NDArray[Any]]

_INPUTS, _LABELS = ("x", "series", "data"), ("y", "label", "labels")


def splits_inside(path: Path) -> dict[str, str]:
    """The splits that the names of a file's arrays say, ``x_train`` and ``x_test``: split by array; else empty.

    Raises:
        DataError: it is not an ``.npz`` file, or two arrays say the same split.
    """
    names = [name for name in numpy_files.names_in_npz(path) if _is_input(name) and split_of(name)]
    return own_splits(names, str(path))


def read_npz(path: Path, split: str, *, channels_first: bool) -> Read:
    """Read the series and labels of one split, or of the file.

    Inputs are ``x`` or ``x_<split>`` of shape (N, T, C) or (N, T). If lengths differ, x of shape (S, C) has all steps
    concatenated, and series i is ``x[offsets[i] : offsets[i + 1]]``. Labels are ``y`` or ``y_<split>`` of shape (N,) or
    (N, L): text, numbers, or indices into ``classes`` if this array exists. NaN is a missing value.

    Args:
        path: the file.
        split: name of a split, or ``all``.
        channels_first: whether inputs are (N, C, T).

    Raises:
        DataError: an array is missing, has another shape or type, or invalid values.
    """
    arrays = read_arrays(path)
    name = _input_name(path, arrays, split)
    suffix = _suffix(name)
    series = _series(path, arrays, name, suffix, channels_first)
    labels, classes = _labels(path, arrays, suffix, len(series))
    known = {name, f"offsets{suffix}", "classes", *(each for each in arrays if _base(each) in (*_LABELS, *_INPUTS))}
    unused = sorted(each for each in arrays if each not in known and not each.startswith("offsets"))
    return Read(
        series,
        [f"{path}, {name}[{number}]" for number in range(len(series))],
        tuple(f"channel {number + 1}" for number in range(series[0].shape[1])),
        labels,
        classes=classes,
        notes=(f"arrays of {path.name} that are not used: {shown(unused)}",) if unused else (),
    )


def read_timeline(path: Path) -> Read:
    """Read series to forecast: ``series`` of shape (T, C) or (T,), or inputs as `read_npz` reads them.

    Raises:
        DataError: there is no such array, or it has another shape.
    """
    arrays = read_arrays(path)
    if "series" not in arrays:
        return read_npz(path, "all", channels_first=False)
    values = _numbers(path, arrays, "series")
    if values.ndim not in (1, 2) or not values.size:
        raise DataError(f"{path}: 'series' has shape {values.shape}, expected (T, C) or (T,)")
    values = values.reshape(len(values), -1)
    return Read([values], [f"{path}, series"], tuple(f"channel {number + 1}" for number in range(values.shape[1])))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file; pickled objects are refused.

    Raises:
        DataError: the file is damaged, or an array has pickled objects.
    """
    arrays = numpy_files.read_npz(path)
    for name, array in arrays.items():
        if array.dtype.kind not in "biufUS":
            raise DataError(f"{path}: '{name}' has values of type {array.dtype}, expected numbers or text")
    return arrays


def split_series(path: Path, arrays: Arrays, split: str) -> tuple[Series, ...]:
    """Return the series of ``x_<split>`` with ``offsets_<split>``, see `read_npz`.

    Args:
        path: the file, for messages.
        arrays: its arrays.
        split: ``train`` or ``test``.

    Raises:
        DataError: the arrays do not fit together or have invalid values.
    """
    return _series(path, arrays, f"x_{split}", f"_{split}", channels_first=False)


def _series(path: Path, arrays: Arrays, name: str, suffix: str, channels_first: bool) -> tuple[Series, ...]:
    values = _numbers(path, arrays, name)
    offsets = arrays.get(f"offsets{suffix}")
    if offsets is None:
        if values.ndim not in (2, 3) or not values.size:
            raise DataError(f"{path}: '{name}' has shape {values.shape}, expected (N, T, C), (N, T) or offsets{suffix}")
        whole = values[:, :, None] if values.ndim == 2 else values
        if values.ndim == 3 and not channels_first and values.shape[1] == 1 < values.shape[2]:
            raise DataError(
                f"{path}: '{name}' has shape {values.shape}, which is series of one step; if the shape is (series, "
                "channels, steps), set channels_first: true; else write the channels as a table"
            )
        pieces = list(whole.transpose(0, 2, 1) if channels_first and values.ndim == 3 else whole)
    else:
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or offsets.ndim != 1 or offsets.dtype.kind not in "iu":
            raise DataError(f"{path}: with offsets{suffix}, '{name}' must be (S, C) and the offsets integers")
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 1).any():
            raise DataError(f"{path}: offsets{suffix} must rise from 0 to the {len(values)} steps of '{name}'")
        pieces = [values[start:end] for start, end in itertools.pairwise(offsets)]
    kept = tuple(map(without_missing_end, pieces))
    if empty := [place for place, piece in enumerate(kept) if not len(piece)]:
        raise DataError(f"{path}: every value of series {empty[0]} of '{name}' is missing; remove it")
    return kept


def _numbers(path: Path, arrays: Arrays, name: str) -> Series:
    values = arrays[name]
    if values.dtype.kind not in "fiu":
        raise DataError(f"{path}: '{name}' is {values.dtype}, expected numbers")
    values = values.astype(np.float64)
    if np.isinf(values).any():
        raise DataError(f"{path}: '{name}' has infinite values; remove them, or write NaN")
    return values


def _labels(path: Path, arrays: Arrays, suffix: str, count: int) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Cells of each target, and the classes that the file declares."""
    found = [name for name in arrays if _base(name) in _LABELS and _suffix(name) == suffix]
    if not found:
        return {}, ()
    name, labels = found[0], arrays[found[0]]
    if labels.ndim not in (1, 2) or len(labels) != count or labels.dtype.kind not in "iufbUS":
        raise DataError(f"{path}: '{name}' is {labels.dtype} {labels.shape}, expected {count} labels, one per series")
    if "classes" in arrays and labels.dtype.kind in "iu" and labels.ndim == 1:
        names = [_text(each) for each in arrays["classes"].ravel()]
        if len(strange := np.flatnonzero((labels < 0) | (labels >= len(names)))):
            raise DataError(
                f"{path}: {name}[{strange[0]}] is {labels[strange[0]]}, which is not among the classes 0 ... "
                f"{len(names) - 1} of 'classes'"
            )
        return {"y": [names[label] for label in labels]}, tuple(names)
    columns = labels.reshape(count, -1).T
    keys = ["y"] if len(columns) == 1 else [f"y_{number + 1}" for number in range(len(columns))]
    return {key: list(map(_text, column)) for key, column in zip(keys, columns, strict=True)}, ()


def _text(label: Any) -> str:
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if isinstance(label, np.bool_):
        return str(int(label))
    return "" if label != label else str(label)


def _input_name(path: Path, arrays: Arrays, split: str) -> str:
    inputs = [name for name in arrays if _is_input(name)]
    fitting = [name for name in inputs if split == "all" or split_of(name) == split] or inputs
    if len(fitting) > 1 and split == "all":
        fitting = [name for name in fitting if split_of(name) in (None, "train")] or fitting
    if len(fitting) != 1:
        raise DataError(
            f"{path}: expected one array of series, x or x_train with x_test; it has {shown(list(arrays)) or 'none'}"
        )
    return fitting[0]


def _is_input(name: str) -> bool:
    return _base(name) in _INPUTS


def _base(name: str) -> str:
    """The name of an array without that of its split, in lower case."""
    return name[: len(name) - len(_suffix(name))].lower()


def _suffix(name: str) -> str:
    """The end of an array's name that says its split, ``_train``; empty if there is none."""
    for base in (*_INPUTS, *_LABELS):
        if name.lower().startswith(f"{base}_") and split_of(name[len(base) + 1 :]):
            return name[len(base) :]
    return ""
