"""Series in ``.npz`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.tasks.series.arrays import read_npz, read_timeline, splits_inside

X = np.arange(24.0).reshape(4, 3, 2)


def stored(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "x.npz", **arrays)
    return tmp_path / "x.npz"


def test_splits_by_name(tmp_path: Path) -> None:
    path = stored(tmp_path, X_train=X, y_train=[0, 1, 0, 1], X_val=X[:1], y_val=[1], X_test=X[1:3], y_test=[0, 1])
    assert splits_inside(path) == {"X_train": "train", "X_val": "validation", "X_test": "test"}
    read = read_npz(path, "test", channels_first=False)
    np.testing.assert_array_equal(np.stack(read.series), X[1:3])
    assert read.labels == {"y": ["0", "1"]}
    assert read_npz(path, "validation", channels_first=False).labels == {"y": ["1"]}


@pytest.mark.parametrize("name", ["x", "X", "data"])
def test_one_array(tmp_path: Path, name: str) -> None:
    read = read_npz(stored(tmp_path, **{name: X[..., 0]}, y=["a", "b", "a", "b"]), "all", channels_first=False)
    assert [each.shape for each in read.series] == [(3, 1)] * 4
    assert read.labels == {"y": ["a", "b", "a", "b"]}


def test_channels_first(tmp_path: Path) -> None:
    read = read_npz(stored(tmp_path, x=X.transpose(0, 2, 1), y=[0, 1, 0, 1]), "all", channels_first=True)
    np.testing.assert_array_equal(np.stack(read.series), X)


def test_offsets_classes_and_several_targets(tmp_path: Path) -> None:
    path = stored(tmp_path, x=X[0], offsets=[0, 1, 3], y=[1, 0], classes=["cat", "dog"])
    read = read_npz(path, "all", channels_first=False)
    assert [len(each) for each in read.series] == [1, 2]
    assert (read.labels, read.classes) == ({"y": ["dog", "cat"]}, ("cat", "dog"))
    both = read_npz(stored(tmp_path, x=X, y=np.arange(8.0).reshape(4, 2)), "all", channels_first=False)
    assert both.labels == {"y_1": ["0.0", "2.0", "4.0", "6.0"], "y_2": ["1.0", "3.0", "5.0", "7.0"]}


def test_unused_arrays_are_noted(tmp_path: Path) -> None:
    assert read_npz(stored(tmp_path, x=X, y=[0, 1, 0, 1], when=[1]), "all", channels_first=False).notes == (
        "arrays of x.npz that are not used: when",
    )


def test_timeline(tmp_path: Path) -> None:
    assert read_timeline(stored(tmp_path, series=X[0])).series[0].shape == (3, 2)
    assert read_timeline(stored(tmp_path, series=X[0, :, 0])).series[0].shape == (3, 1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": X}, "expected one array of series, x or x_train with x_test; it has z"),
        ({"x": X, "y": [0, 1]}, "expected 4 labels, one per series"),
        ({"x": X + np.inf, "y": [0, 1, 0, 1]}, "'x' has infinite values"),
        ({"x": X * np.nan, "y": [0, 1, 0, 1]}, "every value of series 0"),
        ({"x": X.astype(str), "y": [0, 1, 0, 1]}, "expected numbers"),
        ({"x": X[0, 0], "y": [0, 1]}, "has shape"),
        (
            {"x": X, "y": [0, 1, 2, 5], "classes": ["a", "b", "c"]},
            r"y\[3\] is 5, which is not among the classes 0 ... 2",
        ),
        ({"x": X[0], "offsets": [0, 2, 2, 3], "y": [0, 1, 1]}, "must rise from 0"),
        ({"x": np.array([{}], object)}, "it has Python objects"),
    ],
)
def test_faults(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_npz(stored(tmp_path, **arrays), "all", channels_first=False)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text"])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    for read in (lambda path: read_npz(path, "all", channels_first=False), splits_inside):
        with pytest.raises(DataError, match=r"x\.npz: (the file is empty|truncated|not (readable as )?an \.npz file)"):
            read(tmp_path / "x.npz")


def test_series_of_one_step_are_probably_channels_first(tmp_path: Path) -> None:
    path = stored(tmp_path, x=np.zeros((4, 1, 12)), y=np.arange(4))
    with pytest.raises(DataError, match=r"\(4, 1, 12\), which is series of one step.*channels_first: true"):
        read_npz(path, "all", channels_first=False)
    assert read_npz(path, "all", channels_first=True).series[0].shape == (12, 1)
