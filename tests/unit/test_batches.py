"""Batches are a function of seed and step, cover every example, and group by length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from fptkit.engine.batches import TrainingBatches, evaluation_batches
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


def test_an_endless_split_draws_anew() -> None:
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


def test_a_sample_is_whole_batches_without_repetition_and_without_those_the_protocol_skips() -> None:
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


def test_a_sample_of_an_endless_split_is_drawn_anew() -> None:
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


def test_a_whole_needs_an_end() -> None:
    with pytest.raises(ShapeError, match="an endless split has no whole"):
        next(evaluation_batches(Any(), "test", Ragged(None), TrainOptions(), 0))


def test_skipped_batches_are_not_trained_on() -> None:
    batches = TrainingBatches(Sampled(), Ragged(100), 10, seed=0)
    seen = [example for batch in targets(batches, range(20)) for example in batch]
    assert 3 not in seen
    assert len(set(seen)) > 90
    with pytest.raises(ShapeError, match="split train: the protocol sampled skips every batch"):
        TrainingBatches(Sampled(), Ragged(5), 10, seed=0).batch(0)
