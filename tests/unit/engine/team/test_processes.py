"""How several processes share the work of a run: who does what, and what is added up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from fptkit.cli.main import cli
from fptkit.cli.shared import one_process_only
from fptkit.engine.batches import evaluation_batches, part_of_process
from fptkit.engine.team import processes as processes_module
from fptkit.engine.team.processes import ALONE, Processes, add_up_step, local_device
from fptkit.errors import UsageError
from fptkit.interfaces import Batch, Classes, SampledEvaluation, Task, Vectors
from fptkit.recipe.models import TrainOptions


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
    other = WithAnother([True, False, True, True, False], [0.5, 10.0, 20.0, 30.0, 40.0, 0.25, 0.5, 0.75, 1.0])
    loss, ending = add_up_step(other, [ours, its, nobodys], [norm, fixed], torch.tensor(0.25), 0.75)
    assert loss is not None
    assert float(loss) == 0.75
    assert ending, "the other process wants to end"
    assert ours.grad.tolist() == [11.0, 22.0]
    assert its.grad is not None
    assert its.grad.tolist() == [30.0, 40.0]
    assert nobodys.grad is None, "Adam would decay it"
    assert norm.running_mean.tolist() == [3.25, 6.5]
    assert norm.running_var is not None
    assert norm.running_var.tolist() == [1.5, 1.75]
    assert fixed.running_var is not None
    assert fixed.running_var.tolist() == [1.0, 1.0], "what does not change must keep its bits"


def test_large_gradients_are_exchanged_in_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes_module, "BUCKET_BYTES", 16)
    sizes: list[int] = []

    class Doubling(WithAnother):
        def add_up(self, numbers: torch.Tensor) -> None:
            sizes.append(len(numbers))
            numbers *= 2

    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in (3, 9, 2, 2, 1)]
    for number, parameter in enumerate(parameters, start=1):
        parameter.grad = torch.full_like(parameter, number)
    loss, _ = add_up_step(Doubling([False] * 7, []), parameters, [], torch.tensor(0.5), 0.5)
    assert sizes == [4, 9, 4, 1], "the loss and the first; one larger than a bucket; two; the last"
    assert loss == 1
    for number, parameter in enumerate(parameters, start=1):
        assert parameter.grad is not None
        assert parameter.grad.tolist() == [2 * number] * len(parameter)


@pytest.mark.parametrize(("ours", "its"), [(None, False), (torch.tensor(0.25), True)])
def test_nothing_is_exchanged_where_memory_ran_out(ours: torch.Tensor | None, its: bool) -> None:
    """In this process, or in the other one, which then sends nothing that could be waited for."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    other = WithAnother([False, its, True], [])
    assert add_up_step(other, [parameter], [], ours, 0.5, lambda: True) == (None, True)


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
