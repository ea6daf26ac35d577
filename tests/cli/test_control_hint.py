"""``fptkit run`` ends with the command that compares it with its control."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from command_line import TINY, fptkit

PRETRAINED = """
task: {name: bit_xor, bits: 3, validation_size: 20, test_size: 20}
backbone: {name: gpt2, weights: builtin:gpt2_nano}
train: {batch_size: 4, max_steps: 2, validate_every: 2, patience: null}
threads: 1
"""
HINT = "to see what the pretraining is worth (10 runs like this one):"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pretrained.yaml").write_text(PRETRAINED)
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


@pytest.mark.slow
def test_the_last_lines_are_a_command_that_runs(folder: Path) -> None:
    code, out, _ = fptkit(
        "run", "pretrained.yaml", "--set", "train.seed=4", "--set", "task={test_size: 30}", cwd=folder
    )
    assert code == 0
    *_, hint, command = out.splitlines()
    assert hint == HINT
    assert command == "  fptkit study pretrained.yaml --set 'task={test_size: 30}' --controls=frozen_random"
    code, out, _ = fptkit(*shlex.split(command)[1:], "--dry-run", cwd=folder)
    assert code == 0
    assert "2 cells, 10 runs" in out


@pytest.mark.slow
def test_other_output_has_no_such_lines(folder: Path) -> None:
    arguments = ("run", "pretrained.yaml", "--output", "out")
    code, out, _ = fptkit(*arguments, "--no-test", cwd=folder)
    assert (code, HINT in out) == (0, False), "the command that evaluates the test comes first"
    code, out, err = fptkit(*arguments, "--resume", "--quiet", cwd=folder)
    assert (code, out, HINT in err) == (0, "", False)
    code, out, _ = fptkit(*arguments, "--resume", "--json", cwd=folder)
    assert (code, json.loads(out)["status"]) == (0, "finished")


def test_random_weights_have_no_pretraining(folder: Path) -> None:
    code, out, _ = fptkit("run", "tiny.yaml", cwd=folder)
    assert (code, HINT in out) == (0, False)
    command = out.splitlines()[-1]
    assert command == "  fptkit study tiny.yaml"
    assert "to see how much the seed decides (5 runs like this one):" in out
    code, out, _ = fptkit(*shlex.split(command)[1:], "--dry-run", cwd=folder)
    assert (code, "1 cell, 5 runs" in out) == (0, True)
