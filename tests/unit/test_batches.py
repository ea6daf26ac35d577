"""Batches are a function of seed and step, cover every example, and group by length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fptkit.engine.batches import TrainingBatches, evaluation_batches
from fptkit.interfaces import Batch, Classes, Task, Vectors


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


def test_an_endless_split_draws_anew() -> None:
    batches = TrainingBatches(Any(), Ragged(None), 8, seed=0)
    assert not torch.equal(batches.batch(0).inputs, batches.batch(1).inputs)
    assert len(batches.batch(0)) == 8


def test_evaluation_sees_every_example_once_the_longest_first() -> None:
    lengths = np.array([3, 9, 1, 9, 5])
    order = [batch.targets.tolist() for batch in evaluation_batches(Any(), "test", Ragged(5, lengths), 2)]
    assert order == [[1, 3], [4, 0], [2]]
    assert [len(batch) for batch in evaluation_batches(Any(), "test", Ragged(5), 2)] == [2, 2, 1]
