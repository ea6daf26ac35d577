"""Frozen weights over several processes: the same results as with whole weights."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torchrun_runs import exit_codes
from whole_runs import assert_near, assert_same, tensors
from whole_runs import start as alone

from fptkit.files import find_json


def test_one_process_shards_nothing_and_says_so(write: Any, tmp_path: Path) -> None:
    with_it = alone(write("xor", sharded=True), tmp_path / "with", "train.max_steps=2")
    without = alone(write("xor"), tmp_path / "without", "train.max_steps=2")
    assert_same(tmp_path / "with", tmp_path / "without")
    (note,) = set(with_it["notes"]) - set(without["notes"])
    assert note.startswith("train.shard_frozen: always, but there is one process")


@pytest.mark.slow
def test_two_processes_with_half_of_the_weights_are_as_good_as_one(write: Any, start: Any, tmp_path: Path) -> None:
    names = ("xor", "homology", "digits", "parts")
    runs = [{"recipe": write(name, sharded=True), "folder": tmp_path / f"{name}-two"} for name in names]
    measured = [
        {"recipe": write("wide", sharded=sharded), "folder": tmp_path / f"wide-{sharded}", "measure": 5}
        for sharded in (False, True)
    ]
    norm = {"recipe": write("norm", sharded=True), "folder": tmp_path / "norm-two"}
    plain = {"recipe": write("norm"), "folder": tmp_path / "norm-plain"}
    # At last an error of one process: the other one waits for it in the middle of a pass.
    broken = {"recipe": write("xor", sharded=True), "folder": tmp_path / "broken", "disturb": [1, 6, "out of order"]}
    ended = start(*runs, *measured, norm, plain, broken)
    assert "rank 0 PeerError: process 1 failed: ValueError: out of order" in ended.output, ended.output
    assert json.loads((tmp_path / "broken" / "summary.json").read_text())["status"] == "failed"
    for name in names:
        summary = alone(write(name), tmp_path / f"{name}-one")
        assert_near(tmp_path / f"{name}-one", tmp_path / f"{name}-two")
        theirs = find_json(tmp_path / f"{name}-two" / "summary.json")
        for key in ("best_step", "flops_per_step", "status", "ended_by", "times_tested", "processes"):
            assert theirs[key] == (2 if key == "processes" else summary[key]), key
        assert theirs["parameters"]["total"] == summary["parameters"]["total"]
        assert json.loads((tmp_path / f"{name}-two" / "returned-1.json").read_text()) == theirs
    # Statistics of a batch norm are those of the examples that count.
    for name, tensor in tensors(tmp_path / "norm-plain").items():
        torch.testing.assert_close(tensors(tmp_path / "norm-two")[name], tensor, rtol=0, atol=1e-5)
    # What each process holds between two steps, by its tensors: half of the matrices less than without.
    matrices = 2 * 12 * 256 * 256 * 2
    for rank in (0, 1):
        without, held = (
            json.loads((tmp_path / f"wide-{sharded}" / f"held-{rank}.json").read_text()) for sharded in (False, True)
        )
        assert matrices < without < 1.5 * matrices
        assert without - held == pytest.approx(matrices / 2, rel=0.02)
    notes = json.loads((tmp_path / "wide-True" / "summary.json").read_text())["notes"]
    assert "frozen matrices are sharded: each of 2 processes holds 1.5 of 3.0 MiB, and everything else in full" in notes


@pytest.mark.slow
def test_a_killed_run_goes_on_with_and_without_sharding(write: Any, start: Any, tmp_path: Path) -> None:
    recipe = write("xor", sharded=True)
    whole, cut, once = (tmp_path / name for name in ("whole", "cut", "once"))
    alone(write("xor"), once)
    ended = start({"recipe": recipe, "folder": whole}, {"recipe": recipe, "folder": cut, "disturb": [1, 13, 9]})
    assert -signal.SIGKILL in exit_codes(ended.output), ended.output
    assert ended.output.count("another process died without reporting an error") == 1, ended.output
    assert json.loads((cut / "summary.json").read_text())["status"] == "failed"
    shutil.copytree(cut, tmp_path / "cut-alone")
    alone(write("xor"), tmp_path / "cut-alone", resume=True)
    assert_near(once, tmp_path / "cut-alone")
    # The other way round, too: begun whole, ended sharded.
    alone(write("xor"), tmp_path / "paused", pause_at=10)
    ended = start(
        {"recipe": recipe, "folder": cut, "resume": True},
        {"recipe": recipe, "folder": tmp_path / "paused", "resume": True},
        {"recipe": write("digits", sharded=True), "folder": tmp_path / "stopped", "disturb": [1, 6, signal.SIGTERM]},
    )
    assert exit_codes(ended.output) == {143}, ended.output
    assert_same(whole, cut)
    assert_near(once, tmp_path / "paused")
    # A signal to one process stops all behind the same step.
    summary = json.loads((tmp_path / "stopped" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("interrupted", 7)


@pytest.mark.slow
def test_compiled_steps_with_sharded_weights(write: Any, start: Any, tmp_path: Path) -> None:
    """Also where one process has no example in a step, so that it passes one for the others, uncompiled."""
    compiled = {"overrides": ["train.compile=true"], "compiler": ["aot_eager"]}
    two = {"recipe": write("digits", sharded=True), "folder": tmp_path / "two", **compiled}
    broken = {"recipe": write("xor", sharded=True), "folder": tmp_path / "broken", **compiled, "compiler": ["eager", 1]}
    ended = start(two, broken)
    alone(write("digits"), tmp_path / "one")
    assert_near(tmp_path / "one", tmp_path / "two")
    assert find_json(tmp_path / "two" / "summary.json")["compiled"]
    # The other process waits for it in the middle of a pass.
    problem = "a compiled step failed, and with sharded frozen weights it cannot be taken again uncompiled"
    assert f"rank 1 TrainingError: {problem}; use --set train.compile=false. The error is: " in ended.output, (
        ended.output
    )
    assert "no compiler for this" in ended.output
    assert f"rank 0 PeerError: process 1 failed: {problem}" in ended.output
    assert find_json(tmp_path / "broken" / "summary.json")["status"] == "failed"
