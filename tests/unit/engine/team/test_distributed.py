"""Several processes on one run: the same result as one, the same end for all, and nothing twice."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torchrun_runs import (
    ACCELERATE,
    RECIPES,
    TORCHRUN,
    alone,
    assert_near,
    assert_same,
    exit_codes,
    metrics,
    tensors,
    torchrun,
    write_recipe,
)

from fptkit.cli.main import cli
from fptkit.cli.shared import one_process_only
from fptkit.engine.batches import evaluation_batches, part_of_process
from fptkit.engine.team.processes import ALONE, Processes, add_up_step, local_device
from fptkit.errors import UsageError
from fptkit.interfaces import Batch, Classes, SampledEvaluation, Task, Vectors
from fptkit.recipe.models import TrainOptions


@pytest.fixture
def write(tmp_path: Path) -> Any:
    return partial(write_recipe, tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Any:
    return partial(torchrun, tmp_path)


@pytest.mark.parametrize(("size", "count"), [(8, 2), (9, 2), (7, 3), (1, 2), (2, 5), (5, 1)])
def test_every_example_of_a_batch_goes_to_one_process(size: int, count: int) -> None:
    batch = Batch(torch.rand(size, 4, 2), torch.arange(size), torch.arange(size) % 4 + 1)
    shares = [part_of_process(batch, rank, count) for rank in range(count)]
    taken = [share for share in shares if share is not None]
    assert torch.cat([share.targets for share in taken]).equal(batch.targets)
    assert torch.cat([share.inputs for share in taken]).equal(batch.inputs)
    assert max(map(len, taken)) - min(map(len, taken)) <= 1
    assert len(taken) == min(size, count)
    assert taken == shares[: len(taken)], "those without an example are the last ones"


class Counting(Task):
    """Ten examples whose targets are their indices, or examples without end."""

    def __init__(self, sampled: bool = False) -> None:
        self.input, self.output, self.max_tokens = Vectors(1), Classes(10), 1
        self.sampled_evaluation = SampledEvaluation(batches=5) if sampled else None
        self.size, self.token_counts = 10, None
        self.made = 0

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        self.made += 1
        chance = torch.rand(len(indices), 1, 1, generator=generator)
        return Batch(chance, torch.tensor(indices))


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_batch_of_an_evaluation_is_made_by_one_process(sampled: bool, count: int) -> None:
    task, options = Counting(sampled), TrainOptions(batch_size=3, evaluation_batch_size=3)
    whole = list(evaluation_batches(task, "test", task, options, 7))
    task.made = 0
    turns = [list(evaluation_batches(task, "test", task, options, 7, rank=rank, count=count)) for rank in range(count)]
    assert task.made == len(whole)
    assert len({len(turn) for turn in turns}) == 1, "a process that got fewer items would part from the others"
    together = [batch for row in zip(*turns, strict=True) for batch in row if batch is not None]
    assert [batch.targets.tolist() for batch in together] == [batch.targets.tolist() for batch in whole]
    assert all(ours.inputs.equal(theirs.inputs) for ours, theirs in zip(together, whole, strict=True))


class WithAnother(Processes):
    """One of two processes; what the other one has is given."""

    def __init__(self, its_flags: Sequence[bool], its_numbers: Sequence[float]) -> None:
        super().__init__(0, 2)
        self._its_flags, self._its_numbers = its_flags, torch.tensor(its_numbers)

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        return tuple(ours or its for ours, its in zip(flags, self._its_flags, strict=True))

    def add_up(self, numbers: torch.Tensor) -> None:
        numbers += self._its_numbers


def test_gradients_losses_and_statistics_are_added_up() -> None:
    ours, its, nobodys = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    ours.grad = torch.tensor([1.0, 2.0])
    norm, fixed = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2).eval()
    norm.running_mean = torch.tensor([4.0, 8.0])
    # Three quarters of the batch are ours; the other process has a gradient of both, and has weighted its statistics.
    other = WithAnother([False, True, True, False], [0.5, 10.0, 20.0, 30.0, 40.0, 0.25, 0.5, 0.75, 1.0])
    loss = add_up_step(other, [ours, its, nobodys], [norm, fixed], torch.tensor(0.25), 0.75)
    assert float(loss) == 0.75
    assert ours.grad.tolist() == [11.0, 22.0]
    assert its.grad is not None
    assert its.grad.tolist() == [30.0, 40.0]
    assert nobodys.grad is None, "Adam would decay it"
    assert norm.running_mean.tolist() == [3.25, 6.5]
    assert norm.running_var is not None
    assert norm.running_var.tolist() == [1.5, 1.75]
    assert fixed.running_var is not None
    assert fixed.running_var.tolist() == [1.0, 1.0], "what does not change must keep its bits"


@pytest.mark.parametrize(("ours", "its"), [(None, False), (torch.tensor(0.25), True)])
def test_nothing_is_exchanged_where_memory_ran_out(ours: torch.Tensor | None, its: bool) -> None:
    """In this process, or in the other one, which then sends nothing that could be waited for."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    other = WithAnother([its, True], [])
    assert add_up_step(other, [parameter], [], ours, 0.5) is None


def test_a_single_process_does_everything_itself() -> None:
    assert ALONE.main
    assert ALONE.any_of(False, True) == (False, True)
    assert ALONE.gather_on_main("x") == ["x"]
    assert ALONE.together(lambda: 3) == ALONE.from_main(lambda: 3) == 3
    with pytest.raises(ValueError, match="odd"), ALONE.ending_together():
        raise ValueError("odd")


def test_each_process_of_a_machine_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    cuda, two = torch.device("cuda"), Processes(3, 4)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device(cuda, two) == torch.device("cuda", 1)
    assert chosen == [1]
    assert local_device(torch.device("cpu"), two) == torch.device("cpu")
    assert local_device(cuda, ALONE) == cuda
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match=r"process 2 of this machine has no GPU of its own: there are 2\."):
        local_device(cuda, two)


def test_what_takes_one_process_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    one_process_only("a study")
    monkeypatch.setenv("WORLD_SIZE", "2")
    one_process_only("a study")  # a cluster's variable alone is no launcher
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UsageError, match="a study runs in one process; start it without torchrun"):
        one_process_only("a study")
    for command in (["study", "rq2_pretraining_modality"], ["pretrain", "pretrain_language"]):
        with pytest.raises(UsageError, match="runs in one process"):
            cli.main(command, standalone_mode=False)


@pytest.mark.slow
def test_two_processes_are_as_good_as_one(write: Any, start: Any, tmp_path: Path) -> None:
    names = ("xor", "homology", "digits", "custom")
    ended = start(*({"recipe": write(name), "folder": tmp_path / f"{name}-two"} for name in names))
    assert ended.code == 0, ended.output
    for name in names:
        summary = alone(write(name), tmp_path / f"{name}-one")
        one, two = tmp_path / f"{name}-one", tmp_path / f"{name}-two"
        assert_near(one, two)
        theirs = json.loads((two / "summary.json").read_text())
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
