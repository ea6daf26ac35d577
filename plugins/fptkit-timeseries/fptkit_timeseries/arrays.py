"""Reader of series in ``.npz`` files."""

from __future__ import annotations

import itertools
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.tasks.series.values import Series, without_missing_end
from fptkit_timeseries.series import LabelledSeries


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file; pickled objects are refused.

    Raises:
        DataError: the file is damaged, or an array has pickled objects.
    """
    try:
        # Opened here, since numpy does not close a file that is not a zip archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as opened:
            return {name: opened[name] for name in opened.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as err:
        raise DataError(f"{path}: not readable as an .npz file: {err}") from err


def read_labelled(path: Path) -> tuple[dict[str, LabelledSeries], int]:
    """Read the splits ``train`` and ``test``, and the number of classes.

    The arrays are ``x_<split>`` of shape (N, T, C) or (N, T), and ``y_<split>`` of shape (N,). If lengths differ,
    ``x_<split>`` of shape (S, C) has all steps concatenated, and series i is
    ``x[offsets_<split>[i] : offsets_<split>[i + 1]]``. Labels are indices into ``classes`` if this array exists,
    otherwise any integers. NaN is a missing value.

    Raises:
        DataError: an array is missing, has another shape or dtype, or has invalid values.
    """
    arrays = read_arrays(path)
    for name in ("x_train", "y_train", "x_test", "y_test"):
        if name not in arrays:
            raise DataError(f"{path}: no array '{name}'; it has {', '.join(sorted(arrays)) or 'nothing'}")
    train = _labels(path, arrays, "y_train")
    known = np.arange(len(arrays["classes"])) if "classes" in arrays else np.unique(train)
    if len(known) < 2:
        raise DataError(f"{path}: {len(known)} classes, expected at least two")
    splits = {}
    for split in ("train", "test"):
        labels = _labels(path, arrays, f"y_{split}")
        series = split_series(path, arrays, split)
        if len(series) != len(labels):
            raise DataError(f"{path}: {len(series)} series in x_{split}, {len(labels)} labels in y_{split}")
        if len(strange := np.flatnonzero(~np.isin(labels, known))):
            allowed = f"0 ... {len(known) - 1} of 'classes'" if "classes" in arrays else "those of y_train"
            raise DataError(
                f"{path}: y_{split}[{strange[0]}] is {labels[strange[0]]}, which is not among the classes {allowed}"
            )
        splits[split] = LabelledSeries(series, np.searchsorted(known, labels).astype(np.int64))
    return splits, len(known)


def _labels(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    labels = arrays[name]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise DataError(f"{path}: '{name}' is {labels.dtype} {labels.shape}, expected integers (N,)")
    return labels


def split_series(path: Path, arrays: Mapping[str, NDArray[Any]], split: str) -> tuple[Series, ...]:
    """Return the series of one split, see `read_labelled`.

    Args:
        path: the file, for messages.
        arrays: its arrays.
        split: ``train`` or ``test``.

    Raises:
        DataError: the arrays do not fit together or have invalid values.
    """
    name = f"x_{split}"
    values = arrays[name]
    if values.dtype.kind not in "fiu":
        raise DataError(f"{path}: '{name}' is {values.dtype}, expected numbers")
    values = values.astype(np.float64)
    if np.isinf(values).any():
        raise DataError(f"{path}: '{name}' has infinite values")
    offsets = arrays.get(f"offsets_{split}")
    if offsets is None:
        if values.ndim not in (2, 3) or not values.size:
            raise DataError(f"{path}: '{name}' has shape {values.shape}, expected (N, T, C), (N, T) or offsets_{split}")
        pieces = list(values[:, :, None] if values.ndim == 2 else values)
    else:
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or offsets.ndim != 1 or offsets.dtype.kind not in "iu":
            raise DataError(f"{path}: with offsets_{split}, '{name}' must be (S, C) and the offsets integers")
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 1).any():
            raise DataError(f"{path}: offsets_{split} must rise from 0 to the {len(values)} steps of '{name}'")
        pieces = [values[start:end] for start, end in itertools.pairwise(offsets)]
    kept = tuple(map(without_missing_end, pieces))
    if empty := [place for place, piece in enumerate(kept) if not len(piece)]:
        raise DataError(f"{path}: every value of series {empty[0]} of '{name}' is missing")
    return kept
