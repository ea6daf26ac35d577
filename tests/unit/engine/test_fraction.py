"""A share of the training data, and the sample of it on which a model is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from fptkit.engine.batches import TrainingBatches, whole_split
from fptkit.engine.fraction import SplitFraction, skips, training_fraction, training_sample
from fptkit.errors import RecipeError, ShapeError, UsageError
from fptkit.interfaces import Batch, Classes, Split, Task, Vectors
from fptkit.options import Options
from fptkit.recipe.load import load_recipe


class Numbered:
    """Examples that tell their number as target; endless with None."""

    def __init__(self, size: int | None, token_counts: np.ndarray | None = None) -> None:
        self.size, self.token_counts = size, token_counts

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        assert all(type(index) is int for index in indices)  # as ever: numpy's own would be news to a plugin
        longest = 1 if self.token_counts is None else int(self.token_counts[list(indices)].max())
        return Batch(torch.zeros(len(indices), longest, 1), torch.tensor(list(indices)))


class Numbers(Task):
    """Takes what `Numbered` gives; its protocol skips the batches that hold a multiple of ``skipped``."""

    input, output, max_tokens = Vectors(1), Classes(100_000), 100
    skipped = 0

    def skips(self, split: Split, indices: Sequence[int]) -> bool:
        assert isinstance(split, Numbered)
        return bool(self.skipped) and any(index % self.skipped == 0 for index in indices)


def members(split: Split) -> set[int]:
    assert isinstance(split, SplitFraction)
    return set(split.members.tolist())


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    whole = Numbered(1000)
    shares = [members(training_fraction(Numbers(), whole, fraction, 3)) for fraction in (0.01, 0.05, 0.1, 0.5)]
    assert [len(share) for share in shares] == [10, 50, 100, 500]
    assert shares[0] < shares[1] < shares[2] < shares[3]
    assert members(training_fraction(Numbers(), whole, 0.05, 3)) == shares[1]
    assert members(training_fraction(Numbers(), whole, 0.05, 4)) != shares[1]
    # Drawn from all of the split, not from its beginning: data are often sorted by class.
    assert 150 < sum(number < 500 for number in shares[3]) < 350


def test_the_whole_is_the_split_itself_and_the_least_is_one_example() -> None:
    whole = Numbered(10)
    assert training_fraction(Numbers(), whole, 1.0, 0) is whole
    assert training_fraction(Numbers(), whole, 1e-9, 0).size == 1


def test_only_the_share_is_trained_on_every_epoch() -> None:
    share = training_fraction(Numbers(), Numbered(200), 0.1, 0)
    batches = TrainingBatches(Numbers(), share, 8, seed=0)
    for epoch in range(2):
        seen = [i for step in range(3) for i in batches.batch(3 * epoch + step).targets.tolist()]
        assert len(seen) == 20
        assert set(seen) == members(share)


def test_lengths_go_with_their_examples() -> None:
    counts = np.arange(200) % 90 + 1
    share = training_fraction(Numbers(), Numbered(200, counts), 0.2, 0)
    assert isinstance(share, SplitFraction)
    assert share.token_counts is not None
    assert share.token_counts.tolist() == counts[share.members].tolist()
    batches = TrainingBatches(Numbers(), share, 8, seed=0, batch_tokens=150)
    for step in range(20):
        batch = batches.batch(step)
        assert batch.inputs.shape[1] == counts[batch.targets.tolist()].max()
        assert batch.inputs.shape[0] * batch.inputs.shape[1] <= 150


def test_the_protocol_is_asked_of_the_examples_of_the_whole_split() -> None:
    task = Numbers()
    task.skipped = 7
    share = training_fraction(task, Numbered(210), 0.5, 0)
    assert isinstance(share, SplitFraction)
    for index, number in enumerate(share.members.tolist()):
        assert skips(task, share, [index]) == (number % 7 == 0)
    nested = SplitFraction(share, np.array([4, 2]))
    assert skips(task, nested, [1]) == (share.members[2] % 7 == 0)
    batches = TrainingBatches(task, share, 1, seed=0)
    assert all(batches.batch(step).targets.item() % 7 for step in range(105))


class WithTrainSize(Options):
    bits: int = 3
    train_size: int = 10


@pytest.mark.parametrize(
    ("options", "advice"),
    [(None, r"train\.max_steps"), (Options(), r"train\.max_steps"), (WithTrainSize(), r"task\.train_size")],
)
def test_an_endless_split_has_no_share(options: Options | None, advice: str) -> None:
    with pytest.raises(UsageError, match=rf"data_fraction is 0\.5, but Numbers draws.*{advice}"):
        training_fraction(Numbers(), Numbered(None), 0.5, 0, options)


def test_an_empty_split_has_no_share() -> None:
    with pytest.raises(ShapeError, match="it holds no example"):
        training_fraction(Numbers(), Numbered(0), 0.5, 0)


@pytest.mark.parametrize("value", ["0", "1.01", "-0.5", ".nan"])
def test_a_share_is_above_0_and_at_most_1(tmp_path: Path, value: str) -> None:
    (tmp_path / "bits.yaml").write_text("task: {name: bit_xor}\n")
    with pytest.raises(RecipeError, match=r"train\.data_fraction"):
        load_recipe(str(tmp_path / "bits.yaml"), overrides=[f"train.data_fraction={value}"])


def test_a_sample_is_of_the_share_and_without_what_the_protocol_skips() -> None:
    task = Numbers()
    task.skipped = 2
    share = training_fraction(task, Numbered(400), 0.5, 0)
    sample = training_sample(task, share, 30, 0)
    drawn = [i for batch in whole_split(task, "train", sample, 7) for i in batch.targets.tolist()]
    assert len(drawn) == len(set(drawn)) == 30
    assert all(number % 2 for number in drawn)
    assert set(drawn) < members(share)
    odd = sum(number % 2 for number in members(share))
    assert training_sample(task, share, 10_000, 0).size == odd
    task.skipped = 1
    with pytest.raises(ShapeError, match="no example to evaluate"):
        training_sample(task, share, 5, 0)


def test_a_sample_of_an_endless_split_is_drawn() -> None:
    sample = training_sample(Numbers(), Numbered(None), 10, 0)
    assert [len(batch) for batch in whole_split(Numbers(), "train", sample, 4)] == [4, 4, 2]
