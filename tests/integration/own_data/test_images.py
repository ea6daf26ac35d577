"""From pictures that Pillow wrote to a trained run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import fptkit
from own_data import margin, run_example
from PIL import Image

from fptkit.engine.preparation import read_preparation
from fptkit.registry import load_plugins


@pytest.mark.slow
def test_the_example_of_the_page_beats_the_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = run_example("images.md", tmp_path, monkeypatch)
    assert margin(summary) >= 0.4
    assert summary["data"]["files"] == 300
    shutil.move(tmp_path / "shapes", tmp_path / "gone")
    saved = read_preparation(tmp_path / "run", load_plugins(selection=""))
    assert saved.preparation is not None
    assert saved.output.names == ("cross", "disc", "square")
    assert len(saved.preparation.prepare(saved.preparation.read(["path:gone/disc"]))) == 100


@pytest.mark.slow
def test_numbers_of_a_table_through_the_command_line(tmp_path: Path) -> None:
    chance = np.random.Generator(np.random.PCG64(1))
    lines = ["file_name,brightness"]
    for row in range(200):
        level = chance.integers(0, 256)
        picture = np.clip(level + chance.normal(0, 20, (20, 30, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{row}.png")
        lines.append(f"{row}.png,{level / 255:.4f}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "mine.yaml").write_text(
        "task: {name: images, source: path:labels.csv, size: 16}\n"
        "backbone: {name: gpt2, weights: builtin:gpt2_nano, dropout: 0.0, blocks: {keep: 2}}\n"
        "train: {learning_rate: 1e-3, batch_size: 16, max_steps: 80, validate_every: 40}\n"
    )
    done = fptkit("run", "mine.yaml", "--output", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["metrics"]["test"]["test"]["mean_squared_error"] < 0.5  # 1 is that of the mean
    Image.new("RGB", (20, 30)).save(tmp_path / "0.png")  # other content under the same name
    again = fptkit("run", "mine.yaml", "--output", "run", "--resume", cwd=tmp_path)
    assert again.returncode == 3
    (tmp_path / "7.png").write_bytes(b"")
    broken = fptkit("run", "mine.yaml", "--output", "other", cwd=tmp_path)
    assert broken.returncode == 3
    assert "7.png: not readable as a picture: the file is empty" in " ".join(broken.stderr.split())
    assert "Traceback" not in broken.stderr
