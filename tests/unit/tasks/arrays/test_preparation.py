"""New arrays: several files, in the order in which they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fptkit.tasks.arrays.options import ArraysOptions
from fptkit.tasks.arrays.task import Arrays


def test_several_files(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    np.savez(tmp_path / "train.npz", x=chance.normal(size=(40, 5)), y=np.arange(40) % 2)
    task = Arrays(ArraysOptions.model_validate({"source": f"path:{tmp_path / 'train.npz'}"}), seed=0)
    assert task.preparation is not None
    arrays = {name: chance.normal(size=(count, 5)) for name, count in (("one", 3), ("two", 2), ("x", 4))}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "four.npz", features=arrays["x"])
    np.save(tmp_path / "y.npy", [0, 1, 0, 1])

    def read(*names: str) -> tuple[np.ndarray, dict[str, list[str]]]:
        found = task.preparation.read([f"path:{tmp_path / name}" for name in names])  # type: ignore[union-attr]
        return np.stack(list(found.content)), {name: list(cells) for name, cells in found.labels.items()}

    for names, expected in (
        (("two.npy", "one.npy"), ("two", "one")),
        (("four.npz", "one.npy"), ("x", "one")),
        (("one.npy", "four.npz"), ("one", "x")),
    ):
        np.testing.assert_array_equal(read(*names)[0], np.concatenate([arrays[name] for name in expected]))
    content, labels = read("x.npy", "y.npy")  # arrays of one data set
    np.testing.assert_array_equal(content, arrays["x"])
    assert list(labels.values()) == [["0", "1", "0", "1"]]
