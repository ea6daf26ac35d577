"""Trackers in whole runs: they change nothing, hold what the run reports, and are checked before anything is built."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import tracker_stores
from command_line import TINY, fptkit
from safetensors.torch import load_file

from fptkit.lab.studies.address import address_of
from fptkit.recipe.load import load_recipe


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def test_the_address_of_a_run_does_not_depend_on_its_trackers(tiny: Path) -> None:
    path = str(tiny / "tiny.yaml")
    plain = load_recipe(path)
    followed = load_recipe(path, overrides=["listeners=[mlflow, {name: wandb, mode: offline}]"])
    assert [listener.name for listener in followed.recipe.listeners] == ["mlflow", "wandb"]
    assert address_of(plain.recipe, "code") == address_of(followed.recipe, "code")


def test_a_missing_package_is_reported_before_anything_is_built(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    for arguments in (["--track", "wandb"], ["listeners=[wandb]"]):
        done = fptkit("run", "tiny.yaml", "--output", "r", "--quiet", *arguments, cwd=tiny)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "it needs: pip install" in done.stderr
        assert not (tiny / "r" / "recipe.yaml").exists()


@pytest.mark.slow
def test_a_followed_run_is_the_same_run(tiny: Path) -> None:
    pytest.importorskip("tensorboard")
    assert fptkit("run", "tiny.yaml", "--output", "plain", "--quiet", cwd=tiny).returncode == 0
    done = fptkit("run", "tiny.yaml", "--output", "followed", "--track", "tensorboard", "--quiet", cwd=tiny)
    assert done.returncode == 0, done.stderr
    plain, followed = (
        load_file(tiny / "plain" / "model.safetensors"),
        load_file(tiny / "followed" / "model.safetensors"),
    )
    assert plain.keys() == followed.keys()
    assert all(plain[name].equal(followed[name]) for name in plain)
    figures = tracker_stores.figures_of(tiny / "followed")
    assert tracker_stores.in_tensorboard(tiny / "followed" / "tensorboard") == figures
    assert json.loads((tiny / "followed" / "tracker_tensorboard.json").read_text())["lines"] == len(
        (tiny / "followed" / "metrics.jsonl").read_text().splitlines()
    )


@pytest.mark.slow
def test_a_tracker_that_fails_does_not_end_the_run(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    (tiny / "file").write_text("no folder")
    recipe = f"{TINY}listeners: [{{name: tensorboard, folder: file}}]\n"
    (tiny / "tiny.yaml").write_text(recipe)
    done = fptkit("run", "tiny.yaml", "--output", "r", cwd=tiny)
    assert done.returncode == 0, done.stderr
    assert "listener 'tensorboard' failed and is dropped" in " ".join(done.stderr.split())
    assert json.loads((tiny / "r" / "summary.json").read_text())["status"] == "finished"
