"""Runs whose tokens are shuffled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from whole_runs import Recorder, assert_same_tensors, start

from fptkit.errors import Interrupted

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 12, test_size: 12}
backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano, dropout: 0.1}
freezing: {name: full}
shuffle_tokens: true
train: {batch_size: 4, max_steps: 12, validate_every: 6, log_every: 2}
threads: 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("further", [(), ("train.accumulate=2",)])
def test_a_run_resumes_exactly(recipe: Path, tmp_path: Path, further: tuple[str, ...]) -> None:
    whole = start(recipe, tmp_path / "whole", *further)
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "parts", *further, listener=Recorder(4))
    parts = start(recipe, tmp_path / "parts", *further, resume=True)
    assert parts["metrics"] == whole["metrics"]
    assert_same_tensors(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_a_run_says_so(recipe: Path, tmp_path: Path) -> None:
    summary = start(recipe, tmp_path / "run")
    note = "control: tokens shuffled; the backbone gets the tokens of each example in random order"
    assert note in summary["notes"]
    assert note in json.loads((tmp_path / "run" / "summary.json").read_text())["notes"]
    plain = start(recipe, tmp_path / "plain", "shuffle_tokens=false")
    assert not any("shuffled" in line for line in plain["notes"])
    assert plain["metrics"] != summary["metrics"]
    assert plain["parameters"] == summary["parameters"]
