"""From files that pandas and NumPy wrote to a trained run, by the page's own example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from own_data import margin, run_example

from fptkit.engine.preparation import read_preparation
from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins

pd = pytest.importorskip("pandas")
np = pytest.importorskip("numpy")

FEW = ("train.max_steps=4", "train.validate_every=2")


@pytest.mark.slow
def test_the_example_of_the_page_beats_the_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = run_example("series.md", tmp_path, monkeypatch)
    assert margin(summary) >= 0.3
    assert summary["data"]["parts"].keys() == {"motion.csv"}
    assert any("values are missing (option fill: interpolate)" in note for note in summary["notes"])
    (tmp_path / "motion.csv").rename(tmp_path / "new.csv")
    saved = read_preparation(tmp_path / "run", load_plugins(selection=""))
    assert saved.preparation is not None
    assert saved.output.names == ("rest", "run", "walk")
    assert len(saved.preparation.prepare(saved.preparation.read(["path:new.csv"]))) == 240


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "csv.gz", "npz"])
def test_other_files_of_the_same_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    one = run_example("series.md", tmp_path, monkeypatch, *FEW)
    frame = pd.read_csv("motion.csv")
    if kind == "parquet":
        frame.to_parquet("m.parquet")
    elif kind == "npz":
        groups = [group for _, group in frame.groupby("id")]
        offsets = np.cumsum([0, *map(len, groups)])
        np.savez("m.npz", x=frame[["x", "y"]], offsets=offsets, y=[group["label"].iloc[0] for group in groups])
    else:
        frame.to_csv("m.csv.gz", index=False)
    (tmp_path / "run").rename(tmp_path / "first")
    other = run_example("series.md", tmp_path, monkeypatch, *FEW, f"task.source=path:m.{kind}")
    assert other["metrics"] == one["metrics"]


@pytest.mark.slow
def test_a_forecast_beats_the_last_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hours = pd.date_range("2024-01-01", periods=900, freq="h")
    load = np.sin(hours.hour / 24 * 2 * np.pi) * 40 + 300 + np.random.default_rng(0).normal(size=900) * 5
    pd.DataFrame({"date": hours, "load": load}).to_csv("load.csv", index=False)
    Path("mine.yaml").write_text(
        "task: {name: series, source: path:load.csv, horizon: 6, history: 48}\n"
        "encoder: {name: patches1d, patch: 6}\n"
        "backbone: {name: gpt2, weights: [builtin:gpt2_nano], dropout: 0.0, blocks: {keep: 2}}\n"
        "train: {learning_rate: 3e-3, batch_size: 32, max_steps: 120, validate_every: 40}\n"
    )
    summary: dict[str, Any] = run(RunRequest(load_recipe("mine.yaml", overrides=["threads=1"]), tmp_path / "run"))
    note = next(note for note in summary["notes"] if note.startswith("test: squared"))
    naive = re.search(r"last value ([\d.]+) ", note)
    assert naive is not None
    assert "last season of 24" in note
    measured = summary["metrics"]["test"]["test"]
    assert measured["mean_squared_error"] < 0.5 * float(naive[1])
    assert measured["mean_absolute_error"] < 20  # in the unit of the data, whose deviation is 28
