"""A part of a split: the fraction of the training examples that a run uses, and the sample it is evaluated on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fptkit.engine.training.transforms import TransformedSplit
from fptkit.errors import ShapeError, UsageError
from fptkit.interfaces import Batch, Split, Task
from fptkit.options import Options
from fptkit.seeds import derive_seed


class SplitFraction:
    """Some examples of a split, as a split of its own.

    Args:
        whole: the split; it may be a fraction itself.
        members: (N,) int64 indices of the examples in it.
    """

    def __init__(self, whole: Split, members: NDArray[np.int64]) -> None:
        self.whole = whole
        self.members = members
        self.size: int | None = len(members)
        self.token_counts = None if whole.token_counts is None else whole.token_counts[members]

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """See `fptkit.Split.batch`."""
        return self.whole.batch(self.members[np.asarray(indices, np.int64)].tolist(), generator)


class _Drawn:
    """A finite number of examples of an endless split: each batch is drawn by the generator it is given."""

    token_counts: np.ndarray | None = None

    def __init__(self, endless: Split, count: int) -> None:
        self.size: int | None = count
        self.batch = endless.batch


def skips(task: Task, split: Split, indices: Sequence[int]) -> bool:
    """`fptkit.Task.skips` for the split that the task made, whatever fraction of it is used."""
    if isinstance(split, SplitFraction):
        return skips(task, split.whole, split.members[np.asarray(indices, np.int64)].tolist())
    if isinstance(split, TransformedSplit):
        return skips(task, split.whole, indices)
    return task.skips(split, indices)


def training_fraction(task: Task, split: Split, fraction: float, seed: int, options: Options | None = None) -> Split:
    """The fraction of a training split that is used; for a fraction of 1, the split itself.

    Args:
        task: for the message.
        split: its training split.
        fraction: above 0 and at most 1; at least one example is taken.
        seed: decides which examples; for one seed, a smaller fraction is part of a larger one.
        options: the task's, for the message.

    Raises:
        UsageError: the split is endless and the fraction below 1.
        ShapeError: the split is empty.
    """
    if fraction == 1:
        return split
    if split.size is None:
        raise UsageError(
            f"train.data_fraction is {fraction:g}, but {type(task).__name__} draws its training examples endlessly, "
            f"so no fraction of them can be taken; {_instead(options)}"
        )
    if split.size == 0:
        raise ShapeError(f"{type(task).__name__}, split train: it holds no example")
    members = _order(split.size, seed)[: max(1, round(fraction * split.size))]
    return SplitFraction(split, np.sort(members))


def fraction_notes(whole: Split, used: Split) -> list[str]:
    """What the run header says if a fraction of the training split is used."""
    if used.size == whole.size:
        return []
    return [
        f"trained on {used.size:,} of {whole.size:,} examples of the training split, drawn by the seed "
        "(train.data_fraction); majority_accuracy is that of the complete split"
    ]


def training_sample(task: Task, split: Split, count: int, seed: int) -> Split:
    """The training examples a model is evaluated on: at most ``count``, without augmentation if the split can do so.

    Args:
        task: examples that its protocol skips are not taken.
        split: training split, or the fraction of it that is used.
        count: examples; all if the split holds fewer.
        seed: decides which.

    Raises:
        ShapeError: the split is empty, or the protocol skips every example.
    """
    if split.size is None:
        return _Drawn(_plain(split), count)
    usable = (index for index in _order(split.size, seed).tolist() if not skips(task, split, [index]))
    members = list(itertools.islice(usable, count))
    if not members:
        raise ShapeError(f"{type(task).__name__}, split train: it holds no example to evaluate")
    return SplitFraction(_plain(split), np.sort(np.array(members, np.int64)))


def _plain(split: Split) -> Split:
    """The split without augmentation, if it offers that."""
    if isinstance(split, SplitFraction):
        return SplitFraction(_plain(split.whole), split.members)
    if isinstance(split, TransformedSplit):
        return _plain(split.whole)
    return split.plain() if hasattr(split, "plain") else split


def _order(size: int, seed: int) -> NDArray[np.int64]:
    """All indices, in the order in which fractions take them."""
    chance = np.random.Generator(np.random.PCG64(derive_seed(seed, "training share")))
    return chance.permutation(size)


def _instead(options: Options | None) -> str:
    """What limits the training examples if a fraction of them cannot."""
    names = [name for name in type(options).model_fields if "train" in name] if options is not None else []
    if names:
        return f"limit them by task.{names[0]}"
    return "leave it at 1, and limit training by train.max_steps"
