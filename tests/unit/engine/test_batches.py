"""Batches are a function of seed and step, cover every example, and group by length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from fptkit.engine.batches import BatchesAhead, TrainingBatches, evaluation_batches, micro_batches
from fptkit.errors import ShapeError
from fptkit.interfaces import Batch, Classes, SampledEvaluation, Split, Task, Vectors
from fptkit.recipe.models import TrainOptions


class Any(Task):
    """Takes what `Ragged` gives."""

    input, output, max_tokens = Vectors(1), Classes(10_000), 1


class Ragged:
    """A split that returns its indices as targets."""

    def __init__(self, size: int | None, token_counts: np.ndarray | None = None) -> None:
        self.size, self.token_counts = size, token_counts

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        return Batch(torch.rand(len(indices), 1, 1, generator=generator), torch.tensor(list(indices)))


def targets(batches: TrainingBatches, steps: range) -> list[list[int]]:
    return [batches.batch(step).targets.tolist() for step in steps]


def test_an_epoch_holds_every_example_once() -> None:
    batches = TrainingBatches(Any(), Ragged(103, np.arange(103) % 17 + 1), 10, seed=0)
    for epoch in range(3):
        seen = [i for batch in targets(batches, range(11 * epoch, 11 * epoch + 11)) for i in batch]
        assert sorted(seen) == list(range(103))


def test_a_later_step_needs_no_earlier_one() -> None:
    whole = TrainingBatches(Any(), Ragged(103), 10, seed=5)
    straight = [whole.batch(step) for step in range(40)]
    resumed = TrainingBatches(Any(), Ragged(103), 10, seed=5).batch(37)
    assert torch.equal(straight[37].targets, resumed.targets)
    assert torch.equal(straight[37].inputs, resumed.inputs)


def test_seeds_and_epochs_change_the_order() -> None:
    one, other = (targets(TrainingBatches(Any(), Ragged(100), 10, seed=seed), range(20)) for seed in (0, 1))
    assert one != other
    assert one[:10] != one[10:]


def test_grouping_by_length_wastes_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(20, 400, 4000)
    batches = TrainingBatches(Any(), Ragged(4000, lengths), 16, seed=0)

    def waste(groups: list[list[int]]) -> float:
        padded = sum(lengths[group].max() * len(group) for group in groups)
        return 1 - sum(lengths[group].sum() for group in groups) / padded

    grouped = targets(batches, range(250))
    assert waste(grouped) < 0.03
    assert waste(targets(TrainingBatches(Any(), Ragged(4000), 16, seed=0), range(250))) > 0.3
    means = [lengths[group].mean() for group in grouped]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3  # lengths come in no order over the epoch


def test_a_recipe_without_a_token_budget_keeps_its_former_batches() -> None:
    """Recorded from the version before there were token budgets."""
    ragged = TrainingBatches(Any(), Ragged(23, np.arange(23) % 7 + 1), 5, seed=1)
    recorded = [[20, 13, 6], [4, 18, 5, 12, 19], [14, 7, 0, 21, 15], [1, 22, 8, 16, 2], [9, 10, 17, 3, 11]]
    recorded += [[20, 6, 13], [4, 18, 12, 5, 19], [7, 0, 21, 14, 22], [8, 15, 1, 16, 9], [2, 10, 17, 3, 11]]
    assert targets(ragged, range(10)) == recorded


BUDGET = 400
UNEVEN = np.random.default_rng(1).integers(5, 200, 1500)


def budgeted(task: Task | None = None, batch_tokens: int = BUDGET, seed: int = 0, most: int = 8) -> TrainingBatches:
    return TrainingBatches(task or Any(), Ragged(len(UNEVEN), UNEVEN), most, seed, batch_tokens=batch_tokens)


def epochs(batches: TrainingBatches, count: int, size: int = len(UNEVEN)) -> list[list[list[int]]]:
    """Batches of some epochs, distinguished by their examples alone: an epoch ends when all were seen."""
    found: list[list[list[int]]] = []
    step = 0
    for _ in range(count):
        epoch: list[list[int]] = []
        while sum(map(len, epoch)) < size:
            epoch.append(batches.batch(step).targets.tolist())
            step += 1
        found.append(epoch)
    return found


def test_a_token_budget_holds_and_an_epoch_has_every_example_once() -> None:
    found = epochs(budgeted(), 4)
    for epoch in found:
        assert sorted(example for batch in epoch for example in batch) == list(range(len(UNEVEN)))
        assert max(len(batch) * UNEVEN[batch].max() for batch in epoch) <= BUDGET
        assert max(map(len, epoch)) == 8
        padded = sum(len(batch) * UNEVEN[batch].max() for batch in epoch)
        assert 1 - UNEVEN.sum() / padded < 0.1
        # Full: one more of the longest example's length would break the budget, but at the end of a pool.
        short = [batch for batch in epoch if (len(batch) + 1) * UNEVEN[batch].max() <= BUDGET and len(batch) < 8]
        assert len(short) <= len(UNEVEN) / (50 * int(BUDGET / UNEVEN.mean()))
    assert found[0] != found[1]


def test_lengths_come_in_no_order_under_a_token_budget() -> None:
    (epoch,) = epochs(budgeted(), 1)
    means = [UNEVEN[batch].mean() for batch in epoch]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


def test_a_budget_above_all_leaves_batch_size_to_decide() -> None:
    sizes = [len(batch) for batch in epochs(budgeted(batch_tokens=10**6), 1)[0]]
    assert sorted(sizes) == [4, *[8] * 187]  # 1500 = 187 * 8 + 4


def test_a_budgeted_step_is_a_function_of_seed_and_step() -> None:
    straight = budgeted()
    wanted = {step: straight.batch(step) for step in range(0, 1200, 7)}  # some three epochs
    for step in (1197, 700, 0, 399, 1190):  # forward and back, each but the first on an object with a past
        assert torch.equal(budgeted().batch(step).targets, wanted[step].targets)
        assert torch.equal(straight.batch(step).inputs, wanted[step].inputs)
    assert targets(budgeted(seed=1), range(5)) != targets(budgeted(), range(5))


def test_skipped_batches_are_not_trained_on_under_a_token_budget() -> None:
    batches = budgeted(Sampled())
    seen = {example for batch in targets(batches, range(800)) for example in batch}
    assert 3 not in seen
    assert len(seen) == len(UNEVEN) - 1  # another epoch puts others beside example 3


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.array([3, 9, 5]), r"train\.batch_tokens is 8, but its longest example alone has 9 tokens"),
        (None, r"its examples do not differ in length, so train\.batch_tokens has nothing to group"),
    ],
)
def test_a_token_budget_that_cannot_be(counts: np.ndarray | None, message: str) -> None:
    with pytest.raises(ShapeError, match=f"Any, split train: .*{message}"):
        TrainingBatches(Any(), Ragged(3, counts), 2, seed=0, batch_tokens=8)
    TrainingBatches(Any(), Ragged(3, np.array([3, 8, 5])), 2, seed=0, batch_tokens=8)


@pytest.mark.parametrize(("size", "count", "sizes"), [(8, 4, [2] * 4), (7, 3, [2, 2, 3]), (2, 4, [1, 1]), (5, 1, [5])])
def test_parts_of_a_batch_are_the_batch(size: int, count: int, sizes: list[int]) -> None:
    inputs = {"one": torch.rand(size, 3, 1), "other": torch.rand(size, 2, 2)}
    mixed = Batch(inputs, torch.arange(size), torch.arange(size) % 2 + 1)
    parts = micro_batches(mixed, count)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat([part.targets for part in parts]), mixed.targets)
    assert torch.equal(
        torch.cat([part.lengths for part in parts if part.lengths is not None]), torch.arange(size) % 2 + 1
    )
    assert all(torch.equal(torch.cat([part.inputs[name] for part in parts]), inputs[name]) for name in inputs)
    plain = micro_batches(Batch(inputs["one"], torch.arange(size)), count)
    assert torch.equal(torch.cat([part.inputs for part in plain]), inputs["one"])
    assert all(part.lengths is None for part in plain)


@pytest.mark.slow
def test_homology_wastes_at_most_a_tenth_in_padding(shared_data: Path) -> None:
    """Issue's bound, on the lengths of TAPE's training sequences; random order wastes more than half."""
    from fptkit.tasks.homology.options import RemoteHomologyOptions
    from fptkit.tasks.homology.task import RemoteHomology

    task = RemoteHomology(RemoteHomologyOptions(source=(f"path:{shared_data / 'homology'}",)), seed=0)
    lengths = task.split("train").token_counts
    assert lengths is not None
    ragged = Ragged(len(lengths), lengths)
    (epoch,) = epochs(TrainingBatches(Any(), ragged, 64, seed=0, batch_tokens=8192), 1, len(lengths))
    padded = sum(len(batch) * lengths[batch].max() for batch in epoch)
    assert 1 - lengths.sum() / padded < 0.05


def test_an_endless_split_draws_new_examples() -> None:
    batches = TrainingBatches(Any(), Ragged(None), 8, seed=0)
    assert not torch.equal(batches.batch(0).inputs, batches.batch(1).inputs)
    assert len(batches.batch(0)) == 8


def test_evaluation_sees_every_example_once_the_longest_first() -> None:
    lengths = np.array([3, 9, 1, 9, 5])
    options = TrainOptions(evaluation_batch_size=2)
    order = [batch.targets.tolist() for batch in evaluation_batches(Any(), "test", Ragged(5, lengths), options, 0)]
    assert order == [[1, 3], [4, 0], [2]]
    assert [len(batch) for batch in evaluation_batches(Any(), "test", Ragged(5), options, 7)] == [2, 2, 1]


class Sampled(Any):
    """Evaluated on four batches of twice the training size; never on example 3."""

    protocol, sampled_evaluation = "sampled", SampledEvaluation(batches=4, size_factor=2)

    def skips(self, split: Split, indices: Sequence[int]) -> bool:
        return 3 in indices


def sample(split: Split, step: int, seed: int = 0, batch_size: int = 5) -> list[list[int]]:
    options = TrainOptions(batch_size=batch_size, seed=seed)
    return [batch.targets.tolist() for batch in evaluation_batches(Sampled(), "test", split, options, step)]


def test_a_sample_is_complete_batches_without_repetition_and_without_those_the_protocol_skips() -> None:
    drawn = sample(Ragged(69), step=100)
    assert [len(batch) for batch in drawn] == [10] * 4
    examples = [example for batch in drawn for example in batch]
    assert len(set(examples)) == 40
    assert 3 not in examples
    assert drawn == sample(Ragged(69), step=100)
    assert drawn != sample(Ragged(69), step=200)
    assert drawn != sample(Ragged(69), step=100, seed=1)


def test_a_sample_from_a_small_split_goes_round_again() -> None:
    drawn = sample(Ragged(25), step=0)  # two whole batches a round, at most one of them skipped
    assert [len(set(batch)) for batch in drawn] == [10] * 4


def test_a_sample_of_an_endless_split_is_drawn_each_time() -> None:
    assert sample(Ragged(None), 0, batch_size=1) == [[0, 1]] * 4
    options = TrainOptions(batch_size=1)
    first, second = (next(evaluation_batches(Sampled(), "test", Ragged(None), options, step)).inputs for step in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("size", "message"), [(9, "needs a batch of 10, but it holds 9"), (10, "protocol sampled skips every batch")]
)
def test_a_split_too_small_for_a_sample(size: int, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        sample(Ragged(size), 0)


class Continued(Any):
    """As the paper's image tasks: complete batches only, and evaluations that continue."""

    protocol, sampled_evaluation = "paper", SampledEvaluation(batches=3, continued=True)
    complete_batches = True


class Uneven(Any):
    """As the paper's tasks of sequences: incomplete batches count, and batches with example 3 are skipped."""

    protocol = "paper"
    sampled_evaluation = SampledEvaluation(batches=3, size_factor=2, continued=True, incomplete=True)

    def skips(self, split: Split, indices: Sequence[int]) -> bool:
        return 3 in indices


def evaluations(task: Task, split: Split, steps: Sequence[int], batch_size: int) -> list[list[int]]:
    options = TrainOptions(batch_size=batch_size, validate_every=10)
    return [
        batch.targets.tolist() for step in steps for batch in evaluation_batches(task, "test", split, options, step)
    ]


def rounds_of(batches: list[list[int]], size: int, per_round: int) -> list[list[int]]:
    """The batches of a row in rounds of some batches each; every full round without repetition."""
    assert all(0 <= example < size for batch in batches for example in batch)
    return [
        [example for batch in batches[start : start + per_round] for example in batch]
        for start in range(0, len(batches), per_round)
    ]


def test_continued_evaluations_repeat_nothing_before_all_had_their_turn() -> None:
    steps = [10, 20, 30, 40, 45]  # the last one ends a run of 45 steps
    drawn = evaluations(Continued(), Ragged(22), steps, batch_size=4)
    assert [len(batch) for batch in drawn] == [4] * 15
    for turn in rounds_of(drawn, 22, per_round=5):
        assert len(set(turn)) == 20  # five complete batches of 22 examples; two examples are left out, others each time
    assert drawn[:5] != drawn[5:10]
    # A resumed run continues at the same place, whatever was evaluated by this process before.
    assert evaluations(Continued(), Ragged(22), [30], batch_size=4) == drawn[6:9]


def test_incomplete_batches_count_where_the_protocol_says_so() -> None:
    lengths = np.arange(22) + 1  # the last batch, of the longest two, is incomplete
    drawn = evaluations(Uneven(), Ragged(22, lengths), [10, 20, 30, 40], batch_size=2)
    # Sorted by length: 0-3 is skipped, then 4-7, 8-11, 12-15, 16-19 and the incomplete 20-21.
    for turn in rounds_of([sorted(batch) for batch in drawn[:10]], 22, per_round=5):
        assert sorted(turn) == list(range(4, 22))
    assert sorted({len(batch) for batch in drawn}) == [2, 4]
    assert [sorted(batch) for batch in evaluations(Uneven(), Ragged(3), [10], batch_size=8)] == [[0, 1, 2]] * 3


def test_training_leaves_out_incomplete_batches_where_the_protocol_says_so() -> None:
    """As a data loader with ``drop_last``: 22 examples make five batches of four."""
    batches = TrainingBatches(Continued(), Ragged(22), 4, seed=0)
    found = targets(batches, range(15))
    assert [len(batch) for batch in found] == [4] * 15
    for turn in rounds_of(found, 22, per_round=5):
        assert len(set(turn)) == 20
    assert [len(batch) for batch in targets(TrainingBatches(Any(), Ragged(22), 4, seed=0), range(6))].count(2) == 1
    exact = targets(TrainingBatches(Continued(), Ragged(20), 4, seed=0), range(10))
    assert exact == targets(TrainingBatches(Any(), Ragged(20), 4, seed=0), range(10))
    with pytest.raises(ShapeError, match=r"needs a batch of 8, but it holds 7 examples; lower train\.batch_size"):
        TrainingBatches(Continued(), Ragged(7), 8, seed=0)


def test_an_endless_split_cannot_be_evaluated_in_full() -> None:
    with pytest.raises(ShapeError, match="split is endless; it cannot be evaluated in full"):
        next(evaluation_batches(Any(), "test", Ragged(None), TrainOptions(), 0))


def test_skipped_batches_are_not_trained_on() -> None:
    batches = TrainingBatches(Sampled(), Ragged(100), 10, seed=0)
    seen = [example for batch in targets(batches, range(20)) for example in batch]
    assert 3 not in seen
    assert len(set(seen)) > 90
    with pytest.raises(ShapeError, match="split train: the protocol sampled skips every batch"):
        TrainingBatches(Sampled(), Ragged(5), 10, seed=0).batch(0)


class Numbers(Task):
    """Ten examples whose targets are their indices; keeps which batches were made."""

    def __init__(self) -> None:
        self.input, self.output, self.max_tokens = Vectors(1), Classes(10), 1
        self.size, self.token_counts = 10, None
        self.made: list[list[int]] = []

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        self.made.append(list(indices))
        return Batch(torch.rand(len(indices), 1, 1, generator=generator), torch.tensor(indices))


def test_batches_made_ahead_are_the_same_and_made_once() -> None:
    task, pinned = Numbers(), []

    def pin(batch: Batch) -> Batch:
        pinned.append(batch)
        return batch

    batches = TrainingBatches(task, task, 4, 0)
    plain = [batches.batch(step) for step in range(5)]
    task.made.clear()
    ahead = BatchesAhead(batches, pin=pin)
    for step in range(4):
        own, whole = ahead.take(step)
        assert own is pinned[step]
        assert whole == len(plain[step])
        assert own.inputs.equal(plain[step].inputs)
        ahead.prepare(step + 1)
        assert len(task.made) == step + 2
    assert ahead.take(2)[0].inputs.equal(plain[2].inputs), "another step than the one that was prepared"
    assert ahead.take(4)[0].inputs.equal(plain[4].inputs)


def test_on_processors_nothing_is_made_ahead() -> None:
    task = Numbers()
    ahead = BatchesAhead(TrainingBatches(task, task, 4, 0), rank=1, count=2)
    own, whole = ahead.take(0)
    ahead.prepare(1)
    assert len(task.made) == 1
    assert own is not None
    assert (own.targets.tolist(), whole) == (task.made[0][2:], 4)


def test_a_batch_is_pinned_tensor_by_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    batch = Batch({"a": torch.zeros(2, 3), "b": torch.ones(2)}, torch.zeros(2), torch.ones(2)).pinned()
    assert [part.unique().tolist() for part in batch.inputs.values()] == [[1], [2]]
    assert (batch.targets.tolist(), batch.lengths.tolist()) == ([1, 1], [2, 2])
    assert Batch(torch.zeros(1), torch.zeros(1)).pinned().lengths is None
