"""Several processes on one run: the same result as one, the same end for all, and nothing twice."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torchrun_runs import ACCELERATE, RECIPES, TORCHRUN, exit_codes
from whole_runs import assert_near, assert_same, metrics, tensors
from whole_runs import start as alone

from fptkit.files import find_json


@pytest.mark.slow
def test_two_processes_are_as_good_as_one(write: Any, start: Any, tmp_path: Path) -> None:
    names = ("xor", "homology", "digits", "custom", "apart")
    ended = start(*({"recipe": write(name), "folder": tmp_path / f"{name}-two"} for name in names))
    assert ended.code == 0, ended.output
    for name in names:
        summary = alone(write(name), tmp_path / f"{name}-one")
        one, two = tmp_path / f"{name}-one", tmp_path / f"{name}-two"
        assert_near(one, two)
        theirs = find_json(two / "summary.json")
        assert (summary["processes"], theirs["processes"]) == (1, 2)
        assert theirs["steps"] == 20
        assert theirs["metrics"].keys() == summary["metrics"].keys()
        for key in ("best_step", "flops_per_step", "status", "ended_by", "times_tested", "parameters"):
            if (key, name) != ("parameters", "homology"):  # a part of a batch need not hold every symbol
                assert summary[key] == theirs[key], key
        returned = [json.loads((two / f"returned-{rank}.json").read_text()) for rank in (0, 1)]
        assert returned == [theirs, theirs]


@pytest.mark.slow
def test_evaluation_is_that_of_one_process_bit_for_bit(write: Any, start: Any, tmp_path: Path) -> None:
    recipe, trained = write("custom"), tmp_path / "one"
    alone(recipe, trained, open_test=False)
    shutil.copytree(trained, tmp_path / "two")
    ended = start({"recipe": recipe, "folder": tmp_path / "two", "resume": True})
    assert ended.code == 0, ended.output
    alone(recipe, trained, resume=True)
    assert metrics(trained)[-1]["split"] == "test"
    assert_same(trained, tmp_path / "two")
    assessed = [(folder / "assessment.json").read_text() for folder in (trained, tmp_path / "two")]
    assert assessed[0] == assessed[1]


@pytest.mark.slow
def test_batch_norms_see_parts_and_their_statistics_are_averaged(write: Any, start: Any, tmp_path: Path) -> None:
    ended = start({"recipe": write("norm"), "folder": tmp_path / "two"})
    assert ended.code == 0, ended.output
    alone(write("norm"), tmp_path / "one", "train.accumulate=2")
    ours, theirs = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    kept = {f"encoder.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert kept < ours.keys() == theirs.keys()
    for name in ours.keys() - kept:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-5)
    notes = json.loads((tmp_path / "two" / "summary.json").read_text())["notes"]
    assert any("batch norms" in note for note in notes)


@pytest.mark.slow
def test_all_cut_finer_where_one_runs_out_of_memory(
    write: Any, start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write("hungry")
    halves = tmp_path / "halves.yaml"
    halves.write_text(recipe.read_text().replace("train: {", "train: {accumulate: 2, "))
    monkeypatch.setenv("HUNGRY_ROWS", "2")  # of 4, which is its part of a batch
    runs = [{"recipe": recipe, "folder": tmp_path / "cut"}, {"recipe": halves, "folder": tmp_path / "halves"}]
    ended = start(*runs)
    assert ended.code == 0, ended.output
    assert_same(tmp_path / "cut", tmp_path / "halves")
    returned = [json.loads((tmp_path / "cut" / f"returned-{rank}.json").read_text()) for rank in (0, 1)]
    assert [(summary["accumulate"], summary["parts"]) for summary in returned] == [(1, 2), (1, 2)]
    # Nothing helps: both end, and one of them tells.
    monkeypatch.setenv("HUNGRY_ROWS", "0")
    ended = start(command=["run", str(recipe), "--output", str(tmp_path / "none")])
    assert exit_codes(ended.output) == {1}
    assert ended.output.count("out of memory with a single example per micro-batch") == 1, ended.output
    summary = json.loads((tmp_path / "none" / "summary.json").read_text())
    assert (summary["status"], summary["parts"]) == ("failed", 4)


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_resume_is_exact(write: Any, start: Any, tmp_path: Path) -> None:
    recipe = write("dropout")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start({"recipe": recipe, "folder": whole}).code == 0
    ended = start({"recipe": recipe, "folder": cut, "disturb": [1, 13, signal.SIGKILL]})
    assert -signal.SIGKILL in exit_codes(ended.output)
    assert ended.output.count("another process died without reporting an error") == 1, ended.output
    assert json.loads((cut / "summary.json").read_text())["status"] == "failed"
    assert [path.name for path in sorted((cut / "checkpoints").glob("step-*"))] == ["step-00000010"]
    # Once more, the main process this time, behind the checkpoint of step 15.
    ended = start({"recipe": recipe, "folder": cut, "resume": True, "disturb": [0, 17, signal.SIGKILL]})
    assert -signal.SIGKILL in exit_codes(ended.output)
    ended = start({"recipe": recipe, "folder": cut, "resume": True})
    assert ended.code == 0, ended.output
    assert_same(whole, cut)


@pytest.mark.slow
def test_a_signal_to_one_stops_all_and_another_number_of_processes_resumes(
    write: Any, start: Any, tmp_path: Path
) -> None:
    recipe = write("xor")
    alone(recipe, tmp_path / "whole")
    folder = tmp_path / "cut"
    ended = start({"recipe": recipe, "folder": folder, "disturb": [1, 6, signal.SIGTERM]})
    assert exit_codes(ended.output) == {143}, ended.output
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("interrupted", 7)
    ended = start({"recipe": recipe, "folder": folder, "resume": True, "disturb": [0, 13, signal.SIGTERM]}, processes=3)
    assert json.loads((folder / "summary.json").read_text())["steps"] == 14, ended.output
    alone(recipe, folder, resume=True)
    assert_near(tmp_path / "whole", folder)


@pytest.mark.slow
def test_an_error_is_reported_once_and_ends_all(write: Any, start: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(RECIPES["xor"].replace("bits: 3", "bits: none"))
    ended = start(command=["run", str(wrong)])
    assert ended.output.count("nothing was run") == 1, ended.output
    assert exit_codes(ended.output) == {2}
    assert not (tmp_path / "runs").exists()
    # Of the main process alone: the folder is not free.
    alone(write("xor"), tmp_path / "taken")
    ended = start(command=["run", str(write("xor")), "--output", str(tmp_path / "taken")])
    assert ended.output.count("holds a run already") == 1, ended.output
    assert exit_codes(ended.output) == {2}
    # Of the other one, in the middle of a step.
    ended = start({"recipe": write("xor"), "folder": tmp_path / "broken", "disturb": [1, 6, "out of order"]})
    assert "rank 0 PeerError: process 1 failed: ValueError: out of order" in ended.output, ended.output
    summary = json.loads((tmp_path / "broken" / "summary.json").read_text())
    assert (summary["status"], summary["reason"]) == (
        "failed",
        "PeerError: process 1 failed: ValueError: out of order",
    )
    # Of both alike, and no process waits for the other.
    ended = start(
        command=["run", str(write("xor")), "--output", str(tmp_path / "high"), "--set", "train.learning_rate=1e30"]
    )
    assert ended.output.count("Lower train.learning_rate") == 1, ended.output
    assert exit_codes(ended.output) == {1}
    assert json.loads((tmp_path / "high" / "summary.json").read_text())["status"] == "diverged"


@pytest.mark.slow
def test_accelerates_launcher_starts_the_same_run(write: Any, start: Any, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    recipe = write("xor")
    for name, launcher in (("torchrun", TORCHRUN), ("accelerate", ACCELERATE)):
        ended = start(command=["run", str(recipe), "--output", str(tmp_path / name)], launcher=launcher)
        assert ended.code == 0, ended.output
    summary = json.loads((tmp_path / "accelerate" / "summary.json").read_text())
    assert (summary["status"], summary["processes"]) == ("finished", 2)
    assert_same(tmp_path / "torchrun", tmp_path / "accelerate")


@pytest.mark.slow
def test_the_command_line_talks_once(write: Any, start: Any, tmp_path: Path) -> None:
    ended = start(command=["run", str(write("xor"))])
    assert ended.code == 0, ended.output
    for text in ("2 processes", "step 20/20  validation:", "all files are in"):
        assert ended.output.count(text) == 1, ended.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
