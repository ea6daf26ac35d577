"""From a file that pandas wrote to a trained run, by the page's own example."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_data import margin, run_example

from fptkit.engine.preparation import read_preparation
from fptkit.registry import load_plugins

pd = pytest.importorskip("pandas")


@pytest.mark.slow
def test_the_example_of_the_page_beats_the_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = run_example("table.md", tmp_path, monkeypatch)
    assert margin(summary) >= 0.15
    notes = "\n".join(summary["notes"])
    assert "columns: 1 numeric and 2 categorical, 1 of dates" in notes
    assert "column 'order' is not used" in notes
    assert "column 'postcode' has codes such as" in notes
    assert summary["data"]["parts"].keys() == {"orders.csv"}
    assert json.loads((tmp_path / "run/summary.json").read_text())["data"] == summary["data"]
    (tmp_path / "orders.csv").rename(tmp_path / "new.csv")
    saved = read_preparation(tmp_path / "run", load_plugins(selection=""))
    assert saved.preparation is not None
    assert saved.output.names == ("no", "yes")
    assert len(saved.preparation.prepare(saved.preparation.read(["path:new.csv"]))) == 800


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv.gz", "tsv", "parquet"])
def test_other_files_of_the_same_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    few = ("train.max_steps=4", "train.validate_every=2")
    one = run_example("table.md", tmp_path, monkeypatch, *few)
    frame = pd.read_csv("orders.csv", dtype={"postcode": str})
    if ending == "parquet":
        frame.to_parquet("orders.parquet")
    else:
        frame.to_csv(f"orders.{ending}", index=False, sep="\t" if ending == "tsv" else ",")
    (tmp_path / "run").rename(tmp_path / "first")
    other = run_example("table.md", tmp_path, monkeypatch, *few, f"task.source=path:orders.{ending}")
    assert other["metrics"] == one["metrics"]
