"""From files that NumPy and safetensors wrote to a trained run, by the page's own example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from own_data import margin, run_example
from safetensors.numpy import save_file

from fptkit.engine.preparation import read_preparation
from fptkit.registry import load_plugins


@pytest.mark.slow
def test_the_example_of_the_page_beats_the_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = run_example("arrays.md", tmp_path, monkeypatch)
    assert margin(summary) >= 0.4
    assert summary["data"]["parts"].keys() == {"waves.npz"}
    (tmp_path / "waves.npz").rename(tmp_path / "new.npz")
    saved = read_preparation(tmp_path / "run", load_plugins(selection=""))
    assert saved.preparation is not None
    assert saved.output.names == ("slow", "middle", "fast")
    assert len(saved.preparation.prepare(saved.preparation.read(["path:new.npz"]))) == 900


@pytest.mark.slow
def test_other_files_of_the_same_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = ("train.max_steps=4", "train.validate_every=2")
    one = run_example("arrays.md", tmp_path, monkeypatch, *few)
    with np.load("waves.npz") as arrays:
        (tmp_path / "folder").mkdir()
        np.save("folder/x.npy", arrays["x"])
        np.save("folder/labels.npy", arrays["y"])
        save_file({"x": arrays["x"], "y": arrays["y"]}, "waves.safetensors")
    for number, place in enumerate(("folder", "waves.safetensors")):
        (tmp_path / "run").rename(tmp_path / f"run{number}")
        other = run_example("arrays.md", tmp_path, monkeypatch, *few, f"task.source=path:{place}")
        assert other["metrics"] == one["metrics"]
