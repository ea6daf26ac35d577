"""A run that is killed twenty times, at random moments and by random means, ends as one that never was."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest
import short_lives
from whole_runs import assert_same_tensors, metrics

from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, size: nano, blocks: 2, width: 32, heads: 2, dropout: 0.1}
train:
  {batch_size: 8, max_steps: 600, validate_every: 20, log_every: 5, checkpoint_every: 15, patience: null,
   schedule: {name: plateau, patience: 3, factor: 0.7}}
threads: 1
"""
KILLS = 20
KINDS = ("SIGKILL", "SIGTERM", "in a save")


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    recipe = tmp_path / "killed.yaml"
    recipe.write_text(RECIPE)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["safetensors.torch", "fptkit.engine.run"])
    ends = []
    for number in range(KILLS):
        kind = KINDS[number % len(KINDS)]
        life = processes.Process(target=short_lives.live, args=(str(recipe), str(tmp_path / "parts"), kind, number))
        life.start()
        life.join(120)
        ends.append((kind, life.exitcode))
    expected = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 128 + signal.SIGTERM, "in a save": -signal.SIGKILL}
    assert ends == [(kind, expected[kind]) for kind, _ in ends]
    summaries = [
        run(RunRequest(load_recipe(str(recipe)), tmp_path / name, resume=True, listeners=[]))
        for name in ("parts", "whole")
    ]
    assert summaries[0]["metrics"] == summaries[1]["metrics"]
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    for file in ("model.safetensors", "checkpoints/step-00000600/optimizer.safetensors"):
        assert_same_tensors(tmp_path / "whole", tmp_path / "parts", file)
