"""Data sets that the library ``datasets`` wrote; skipped where it is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fptkit.errors import DataError, SourceError, UsageError
from fptkit.tasks.arrays.hub import hub_files
from fptkit.tasks.arrays.options import ArraysOptions
from fptkit.tasks.arrays.task import Arrays

CHANCE = np.random.Generator(np.random.PCG64(3))
N = 40


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("datasets")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(
        UsageError, match=r"hf:a/b: data sets of Hugging Face need datasets: pip install 'fptkit\[datasets\]'"
    ):
        Arrays(ArraysOptions(source="hf:a/b"), seed=0)


def made(datasets: Any, count: int = N, **columns: Any) -> Any:
    labels = [row % 2 for row in range(count)]
    features = datasets.Features(
        {"vector": datasets.List(datasets.Value("float32")), "label": datasets.ClassLabel(names=["ant", "bee"])}
    )
    return datasets.Dataset.from_dict({"vector": CHANCE.normal(size=(count, 6)), "label": labels}, features=features)


def test_splits_and_class_names(datasets: Any, tmp_path: Path) -> None:
    parts = {
        "train": made(datasets),
        "validation": made(datasets, 8),
        "test": made(datasets, 10),
        "extra": made(datasets, 4),
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "d"))
    task = Arrays(ArraysOptions(source=f"hf:{tmp_path / 'd'}", inputs="vector"), seed=0)
    assert task.output.names == ("ant", "bee")
    assert {name: task.split(name).size for name in ("train", "validation", "test")} == {
        "train": N,
        "validation": 8,
        "test": 10,
    }
    assert any("are not used: extra" in note for note in task.notes)
    assert len(task.content) == 3
    assert any(path.suffix == ".arrow" for path in hub_files(f"hf:{tmp_path / 'd'}"))


def test_sequences_of_unequal_length(datasets: Any, tmp_path: Path) -> None:
    rows = [[int(value) for value in CHANCE.integers(0, 5, length)] for length in range(1, N + 1)]
    data = datasets.Dataset.from_dict({"input_ids": rows, "label": [row % 2 for row in range(N)]})
    data.save_to_disk(str(tmp_path / "d"))
    task = Arrays(ArraysOptions(source=f"hf:{tmp_path / 'd'}"), seed=0)
    assert task.max_tokens == N
    batch = task.split("test").batch([0, 1, 2], torch.Generator())
    assert batch.lengths is not None
    for row, length in zip(batch.inputs.tolist(), batch.lengths.tolist(), strict=True):
        assert row[:length] == rows[length - 1]


def test_pictures(datasets: Any, tmp_path: Path) -> None:
    from PIL import Image

    pixels = CHANCE.integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
    columns = {"image": [Image.fromarray(each) for each in pixels], "label": ["a", "b"] * (N // 2)}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "d"))
    task = Arrays(ArraysOptions(source=f"hf:{tmp_path / 'd'}"), seed=0)
    assert task.input.size == (8, 8)
    assert task.output.names == ("a", "b")
    columns["image"][3] = Image.new("RGB", (9, 8))
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "e"))
    with pytest.raises(DataError, match="pictures of 2 sizes"):
        Arrays(ArraysOptions(source=f"hf:{tmp_path / 'e'}"), seed=0)


def test_a_data_set_that_is_not_in_the_cache(datasets: Any) -> None:
    with pytest.raises(SourceError, match="hf:nobody/nothing"):
        Arrays(ArraysOptions(source="hf:nobody/nothing"), seed=0)


def test_the_cache_is_used_offline(datasets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(cache))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    folder = cache / "owner___name" / "default" / "0.0.0" / ("0" * 40)
    made(datasets).to_parquet(str(tmp_path / "train.parquet"))
    datasets.load_dataset("parquet", data_files=str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "built"))
    [arrow] = (tmp_path / "built").rglob("*-train.arrow")
    arrow.parent.joinpath("dataset_info.json").write_text(
        arrow.parent.joinpath("dataset_info.json").read_text().replace('"parquet"', '"name"')
    )
    folder.parent.mkdir(parents=True)
    arrow.parent.rename(folder)
    (folder / arrow.name).rename(folder / "name-train.arrow")
    task = Arrays(ArraysOptions(source="hf:owner/name", inputs="vector"), seed=0)
    assert task.output.names == ("ant", "bee")
    assert hub_files("hf:owner/name") == [folder / "name-train.arrow"]
