"""Embeddings in each format, with the names beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fptkit.errors import UsageError
from fptkit.inference.vectors import writing_vectors

NAMES = ["a.csv:1", "b, c", "=d"]
ONE = [np.random.default_rng(number).normal(size=(1, 4)).astype(np.float32) for number in range(3)]
SEVERAL = [np.random.default_rng(number).normal(size=(number + 1, 4)).astype(np.float32) for number in range(3)]


def write(path: Path, vectors: list[np.ndarray], *, single: bool) -> None:
    with writing_vectors(path, single=single) as add:
        add(NAMES[:2], vectors[:2])
        add(NAMES[2:], vectors[2:])


def fail(path: Path) -> None:
    with writing_vectors(path, single=True) as add:
        add(NAMES, ONE)
        raise KeyError


def test_npz(tmp_path: Path) -> None:
    write(tmp_path / "e.npz", ONE, single=True)
    found = np.load(tmp_path / "e.npz")
    np.testing.assert_array_equal(found["embeddings"], np.concatenate(ONE))
    assert found["names"].tolist() == NAMES
    write(tmp_path / "e.npz", SEVERAL, single=False)
    found = np.load(tmp_path / "e.npz")
    for number, one in enumerate(SEVERAL):
        start, end = found["offsets"][number : number + 2]
        np.testing.assert_array_equal(found["embeddings"][start:end], one)
    assert found["offsets"][-1] == 6


def test_npy(tmp_path: Path) -> None:
    write(tmp_path / "e.npy", ONE, single=True)
    np.testing.assert_array_equal(np.load(tmp_path / "e.npy"), np.concatenate(ONE))
    assert json.loads((tmp_path / "e.names.json").read_text())["names"] == NAMES
    with pytest.raises(UsageError, match=r"1 to 3 tokens; use \.npz"):
        write(tmp_path / "f.npy", SEVERAL, single=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.names.json", "e.npy"]


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "e.parquet", ONE, single=True)
    found = parquet.read_table(tmp_path / "e.parquet").to_pydict()
    assert found["example"] == NAMES
    np.testing.assert_array_equal(np.array(found["embedding"], np.float32), np.concatenate(ONE))
    write(tmp_path / "e.parquet", SEVERAL, single=False)
    found = parquet.read_table(tmp_path / "e.parquet").to_pydict()
    for one, expected in zip(found["embedding"], SEVERAL, strict=True):
        np.testing.assert_array_equal(np.array(one, np.float32), expected)


def test_csv(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    write(tmp_path / "e.csv", ONE, single=True)
    found = pandas.read_csv(tmp_path / "e.csv")
    assert found["example"].tolist() == NAMES
    np.testing.assert_array_equal(found[["e0", "e1", "e2", "e3"]].to_numpy(np.float32), np.concatenate(ONE))
    write(tmp_path / "e.csv", SEVERAL, single=False)
    found = pandas.read_csv(tmp_path / "e.csv")
    assert found["token"].tolist() == [0, 0, 1, 0, 1, 2]
    np.testing.assert_array_equal(found[["e0", "e1", "e2", "e3"]].to_numpy(np.float32), np.concatenate(SEVERAL))


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    for ending in ("npz", "npy", "csv"):
        with pytest.raises(KeyError):
            fail(tmp_path / f"e.{ending}")
    assert not list(tmp_path.iterdir())
