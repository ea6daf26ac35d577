"""Run folders that cannot be used, and plugins that moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_runs import REST

from fptkit.engine.run import RunRequest, run
from fptkit.errors import CheckpointError, UsageError
from fptkit.inference.trained import load
from fptkit.recipe.load import load_recipe

PLUGIN = """
import torch
from fptkit import Classes, GeneratedTask, Symbols, TaskSpec, hookimpl

class Parity(GeneratedTask):
    input, output, max_tokens = Symbols(2), Classes(2), 6
    def draw(self, count, generator):
        bits = torch.randint(0, 2, (count, 6), generator=generator)
        return bits, bits.sum(1) % 2

@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="parity", summary="is the number of ones odd?", target=Parity)]
"""

BACKBONE = "backbone: {name: random, size: nano, blocks: 1, width: 16, heads: 2}"


@pytest.fixture
def parity(tmp_path: Path) -> Path:
    (tmp_path / "parity.py").write_text(PLUGIN)
    (tmp_path / "r.yaml").write_text(f"plugins: [parity.py]\ntask: {{name: parity}}\n{BACKBONE}\n{REST}")
    run(RunRequest(load_recipe(str(tmp_path / "r.yaml")), tmp_path / "run"))
    return tmp_path / "run"


def test_a_moved_run_and_a_moved_plugin(parity: Path, tmp_path: Path) -> None:
    expected = load(parity).predict([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]])
    moved = Path(shutil.move(parity, tmp_path / "another place"))
    assert load(moved).predict([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]]).tolist() == expected.tolist()
    (tmp_path / "parity.py").rename(tmp_path / "elsewhere.py")
    with pytest.raises(UsageError, match=r"parity\.py does not exist; name the place .* --plugin FILE\.py"):
        load(moved)
    found = load(moved, plugin_files=[tmp_path / "elsewhere.py"])
    assert found.predict([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]]).tolist() == expected.tolist()


def test_folders_without_a_trained_model(parity: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no run"):
        load(tmp_path)
    for file, message in (
        ("preparation.json", "an older version of fptkit made the run"),
        ("recipe.yaml", "has no recipe.yaml; put the file back"),
        ("model.json", "has no model.json, which its run wrote"),
    ):
        (parity / file).rename(tmp_path / "away")
        with pytest.raises(UsageError, match=message):
            load(parity)
        (tmp_path / "away").rename(parity / file)
    (parity / "model.json").unlink()
    (parity / "summary.json").write_text(json.dumps({"status": "interrupted"}))
    with pytest.raises(UsageError, match=r"its run is interrupted .* --resume"):
        load(parity)


def test_a_frozen_part_that_changed(parity: Path) -> None:
    recipe = (parity / "recipe.yaml").read_text()
    (parity / "recipe.yaml").write_text(recipe.replace("  seed: 0\n", "  seed: 1\n"))
    with pytest.raises(CheckpointError, match=r"digest .*; the one built here has digest"):
        load(parity)
