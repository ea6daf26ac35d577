"""From files that scipy and soundfile wrote to a trained run, by the page's own example."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_data import margin, run_example

from fptkit.engine.preparation import read_preparation
from fptkit.registry import load_plugins


@pytest.mark.slow
def test_the_example_of_the_page_beats_the_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = run_example("audio.md", tmp_path, monkeypatch)
    assert margin(summary) >= 0.3
    assert summary["data"]["files"] == 180
    (tmp_path / "machines").rename(tmp_path / "new")
    saved = read_preparation(tmp_path / "run", load_plugins(selection=""))
    assert saved.preparation is not None
    assert saved.output.names == ("click", "hum", "whistle")
    examples = saved.preparation.read(["path:new"])
    assert saved.preparation.prepare(examples.take(range(9))).inputs.shape[2] == 160


@pytest.mark.slow
def test_a_table_of_flac_files_gives_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    few = ("train.max_steps=4", "train.validate_every=2")
    one = run_example("audio.md", tmp_path, monkeypatch, *few)
    rows = ["path,label"]
    for path in sorted(Path("machines").rglob("*.wav")):
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path.with_suffix(".flac"), samples, rate)
        rows.append(f"{path.with_suffix('.flac')},{path.parent.name}")
    Path("list.csv").write_text("\n".join(rows))
    (tmp_path / "run").rename(tmp_path / "first")
    other = run_example("audio.md", tmp_path, monkeypatch, *few, "task.source=path:list.csv")
    assert other["metrics"] == one["metrics"]
    assert other["data"]["digest"] != one["data"]["digest"]
