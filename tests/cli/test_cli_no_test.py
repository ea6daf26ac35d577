"""``fptkit run --no-test``: the test stays shut, and the command it prints opens it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from command_line import TINY, fptkit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("patience: null", "patience: null, training_sample: 10"))
    return tmp_path


def test_the_printed_command_opens_the_test(folder: Path) -> None:
    code, out, _ = fptkit("run", "tiny.yaml", "--output", "out", "--no-test", cwd=folder)
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["split", "train", "validation"]
    assert not any(line.startswith("test ") for line in lines)
    assert "the test splits were not evaluated; evaluate them with:" in lines
    command = shlex.split(lines[-1])
    assert command[0] == "fptkit"
    summary = folder / "out" / "summary.json"
    assert json.loads(summary.read_text())["times_tested"] == 0

    code, out, err = fptkit(*command[1:], cwd=folder)
    assert code == 0
    assert out.splitlines()[3].startswith("test ")
    assert "the test splits were not evaluated" not in out
    assert "step 3/6" not in err  # nothing was trained
    assert json.loads(summary.read_text())["times_tested"] == 1


def test_a_second_call_says_that_nothing_was_trained(folder: Path) -> None:
    command = ("run", "tiny.yaml", "--output", "out", "--no-test", "--resume")
    assert fptkit(*command, cwd=folder)[0] == 0
    code, out, err = fptkit(*command, cwd=folder)
    assert code == 0
    assert "out holds a validated run: nothing was trained" in err
    assert "the test splits were not evaluated" in out


def test_json_is_the_summary_alone(folder: Path) -> None:
    code, out, _ = fptkit("run", "tiny.yaml", "--output", "out", "--no-test", "--json", cwd=folder)
    assert (code, json.loads(out)["status"]) == (0, "validated")


def test_a_run_that_diverges_exits_with_1(folder: Path) -> None:
    overrides = ("--set", "train.learning_rate=1e38", "--set", "train.clip_norm=null")
    code, out, err = fptkit("run", "tiny.yaml", "--output", "out", "--no-test", *overrides, cwd=folder)
    assert (code, out) == (1, "")
    assert "Lower train.learning_rate" in err
    assert json.loads((folder / "out" / "summary.json").read_text())["status"] == "diverged"
