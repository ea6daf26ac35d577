"""Several processes on one run: the same result as one, the same end for all, and nothing twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fptkit.cli.main import cli
from fptkit.cli.shared import one_process_only
from fptkit.engine.batches import evaluation_batches, share_of
from fptkit.engine.distributed import ALONE, Processes, add_up_step, local_device
from fptkit.engine.run import RunRequest, run
from fptkit.errors import UsageError
from fptkit.interfaces import Batch, Classes, SampledEvaluation, Task, Vectors
from fptkit.recipe.load import load_recipe
from fptkit.recipe.models import TrainOptions

WORKER = Path(__file__).with_name("torchrun_worker.py")

TRAIN = "max_steps: 20, validate_every: 10, log_every: 4, patience: null, learning_rate: 1e-2"
COMMON = """
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0}
precision: float32
threads: 1
"""
RECIPES = {
    # Vectors; an odd batch, in parts.
    "xor": "task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}\n"
    f"train: {{batch_size: 9, accumulate: 3, evaluation_batch_size: 16, {TRAIN}}}\n{COMMON}",
    # Examples of different lengths; batches of few long or many short ones.
    "homology": "task: {name: remote_homology, source: [simulated], simulated: {folds: 2, length: [10, 60]}}\n"
    f"train: {{batch_size: 8, batch_tokens: 300, evaluation_batch_size: 7, {TRAIN}}}\n{COMMON}",
    # The last batch of an epoch holds one image only, so that the second process has none.
    "digits": "task: {name: mnist, source: [digits], patch_size: 4, train_size: 31}\n"
    f"train: {{batch_size: 6, evaluation_batch_size: 50, training_sample: 20, {TRAIN}}}\n{COMMON}",
    # Metrics that torchmetrics cannot put together across processes.
    "custom": "plugins: [ordered.py]\ntask: {name: ordered}\n"
    f"train: {{batch_size: 8, evaluation_batch_size: 9, {TRAIN}}}\n{COMMON}",
    # A trained encoder with a batch norm, and a last batch that leaves the second process without.
    "norm": "plugins: [normed.py]\ntask: {name: mnist, source: [digits], patch_size: 4, train_size: 31}\n"
    f"encoder: {{name: normed}}\ntrain: {{batch_size: 6, {TRAIN.replace('20', '10')}}}\n{COMMON}",
    # Dropout: each process draws for its part.
    "dropout": "task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}\n"
    f"train: {{batch_size: 8, checkpoint_every: 5, {TRAIN}}}\n{COMMON.replace('dropout: 0', 'dropout: 0.1')}",
}
PLUGINS = {
    "ordered.py": '''
import torch
import torchmetrics
from fptkit import TaskSpec, hookimpl
from fptkit.tasks.bits import BitXor
from fptkit.tasks.options import BitXorOptions


class OrderSum(torchmetrics.Metric):
    """A sum that depends on the order of the batches; its state has no rule by which processes put it together."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx=None)

    def update(self, predictions, targets):
        self.total = self.total / 3 + predictions.double().sum() + len(targets)

    def compute(self):
        return self.total


class Ordered(BitXor):
    def metrics(self):
        return torchmetrics.MetricCollection({**super().metrics(), "order": OrderSum()})


@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="ordered", target=Ordered, options=BitXorOptions, summary="bits")]
''',
    "normed.py": """
import torch
from fptkit import EncoderSpec, hookimpl


class Normed(torch.nn.Module):
    def __init__(self, options, *, input, width):
        super().__init__()
        # A bias before the norm has no gradient but rounding errors, which Adam makes steps of.
        self.map, self.norm = torch.nn.Linear(input.width, width, bias=False), torch.nn.BatchNorm1d(width)

    def forward(self, inputs):
        return self.norm(self.map(inputs).transpose(1, 2)).transpose(1, 2)


@hookimpl
def fptkit_encoders():
    return [EncoderSpec(name="normed", target=Normed, accepts=("vectors",), summary="with a batch norm")]
""",
}


RECIPES["hungry"] = RECIPES["norm"].replace("normed", "hungry").replace("batch_size: 6", "batch_size: 8")
PLUGINS["hungry.py"] = '''
import os

import torch
from fptkit import EncoderSpec, hookimpl


class Hungry(torch.nn.Module):
    """In training, the second process has memory for HUNGRY_ROWS examples."""

    def __init__(self, options, *, input, width):
        super().__init__()
        self.map, self.norm = torch.nn.Linear(input.width, width, bias=False), torch.nn.BatchNorm1d(width)

    def forward(self, inputs):
        encoded = self.norm(self.map(inputs).transpose(1, 2)).transpose(1, 2)
        rows = int(os.environ["HUNGRY_ROWS"])
        if self.training and torch.is_grad_enabled() and os.environ.get("RANK") == "1" and len(inputs) > rows:
            raise torch.OutOfMemoryError(f"CUDA out of memory with {len(inputs)} rows")
        return encoded


@hookimpl
def fptkit_encoders():
    return [EncoderSpec(name="hungry", target=Hungry, accepts=("vectors",), summary="with a batch norm")]
'''


@dataclass(frozen=True)
class Ended:
    """How torchrun ended."""

    code: int
    output: str


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes one of the recipes, with the plugins beside it."""

    def write(name: str) -> Path:
        for file, text in PLUGINS.items():
            (tmp_path / file).write_text(text)
        path = tmp_path / f"{name}.yaml"
        path.write_text(RECIPES[name])
        return path

    return write


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Ended]:
    """Starts the worker, or the command line, in two processes, and waits for their end."""

    def start(*runs: dict[str, Any], command: Sequence[str] = (), processes: int = 2) -> Ended:
        (tmp_path / "runs.json").write_text(json.dumps(runs, default=str))
        what = ["-m", "fptkit", *command] if command else [str(WORKER), str(tmp_path / "runs.json")]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        started = subprocess.Popen(
            [*launcher, *what],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            output, _ = started.communicate(timeout=300)
        except BaseException:
            started.terminate()  # torchrun ends its processes, by force after 30 seconds
            started.wait(60)
            raise
        return Ended(started.returncode, output)

    return start


def exit_codes(output: str) -> set[int]:
    """Of the processes that failed, as torchrun reports them; one that was just leaving may have been ended by it."""
    codes = set(map(int, re.findall(r"exitcode\s+: (-?\d+)", output)))
    return codes - {-signal.SIGTERM}


def alone(recipe: Path, folder: Path, *overrides: str, **how: Any) -> dict[str, Any]:
    return run(RunRequest(load_recipe(str(recipe), overrides=overrides), folder, **how))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "examples_per_second"} for line in lines]


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit."""
    assert metrics(one) == metrics(other)
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def assert_near(one: Path, other: Path) -> None:
    """To 1e-5: tensors, and everything measured on the way."""
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-5)
    assert len(metrics(one)) == len(metrics(other))
    for line, their_line in zip(metrics(one), metrics(other), strict=True):
        assert line == {
            key: value if isinstance(value, str) else pytest.approx(value, abs=1e-5, rel=1e-5)
            for key, value in their_line.items()
        }


@pytest.mark.parametrize(("size", "count"), [(8, 2), (9, 2), (7, 3), (1, 2), (2, 5), (5, 1)])
def test_every_example_of_a_batch_goes_to_one_process(size: int, count: int) -> None:
    batch = Batch(torch.rand(size, 4, 2), torch.arange(size), torch.arange(size) % 4 + 1)
    shares = [share_of(batch, rank, count) for rank in range(count)]
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
    assert ended.output.count("memory ran out with one example at a time") == 1, ended.output
    summary = json.loads((tmp_path / "none" / "summary.json").read_text())
    assert (summary["status"], summary["parts"]) == ("failed", 4)


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_resume_is_exact(write: Any, start: Any, tmp_path: Path) -> None:
    recipe = write("dropout")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start({"recipe": recipe, "folder": whole}).code == 0
    ended = start({"recipe": recipe, "folder": cut, "disturb": [1, 13, signal.SIGKILL]})
    assert -signal.SIGKILL in exit_codes(ended.output)
    assert ended.output.count("another process of this run is gone") == 1, ended.output
    assert json.loads((cut / "summary.json").read_text())["status"] == "failed"
    assert [path.name for path in sorted((cut / "checkpoints").glob("step-*"))] == ["step-00000010"]
    # Once more, the main process this time, behind the checkpoint of step 15.
    ended = start({"recipe": recipe, "folder": cut, "resume": True, "disturb": [0, 17, signal.SIGKILL]})
    assert -signal.SIGKILL in exit_codes(ended.output)
    ended = start({"recipe": recipe, "folder": cut, "resume": True})
    assert ended.code == 0, ended.output
    assert_same(whole, cut)


@pytest.mark.slow
def test_a_signal_to_one_stops_all_and_another_number_of_processes_goes_on(
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
def test_an_error_is_told_once_and_ends_all(write: Any, start: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(RECIPES["xor"].replace("bits: 3", "bits: none"))
    ended = start(command=["run", str(wrong)])
    assert ended.output.count("1 problem found; nothing was run.") == 1, ended.output
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
def test_the_command_line_talks_once(write: Any, start: Any, tmp_path: Path) -> None:
    ended = start(command=["run", str(write("xor"))])
    assert ended.code == 0, ended.output
    for text in ("2 processes", "step 20/20  validation:", "everything is in"):
        assert ended.output.count(text) == 1, ended.output
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
