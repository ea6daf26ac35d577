"""Random splits of tasks: which task has one whose seed follows ``train.seeds.data``.

A task's options have such a split if they have a section ``split`` with an option ``seed`` that is null. With a seed
of its own, or without ``train.seeds.data``, a split is the same in all runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fptkit.options import Options
from fptkit.recipe.models import TrainOptions

_NOT_RANDOM = ("time", "column")
"""Options of a split that decide it without a draw."""


def draws_data(train: TrainOptions, task: Mapping[str, Any]) -> bool:
    """Whether ``train.seeds.data`` decides which examples a run is trained on.

    Args:
        train: the recipe's.
        task: the recipe's section ``task`` as in its file.
    """
    split = task.get("split")
    if train.data_fraction < 1:
        return True
    return (
        isinstance(split, Mapping) and split.get("seed", 0) is None and not any(split.get(way) for way in _NOT_RANDOM)
    )


def with_split_seed(options: Options, seed: int | None) -> Options:
    """Give a task's random split the run's seed of data.

    Args:
        options: the task's.
        seed: ``train.seeds.data``.

    Returns:
        The options with ``split.seed`` set; unchanged if the split has its own seed, or the run has none.
    """
    split = getattr(options, "split", None)
    if seed is None or not isinstance(split, Options) or getattr(split, "seed", 0) is not None:
        return options
    return options.model_copy(update={"split": split.model_copy(update={"seed": seed})})
