"""Reader of series in ``.npz`` files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.tasks.series.arrays import read_arrays, split_series
from fptkit_timeseries.series import LabelledSeries


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
