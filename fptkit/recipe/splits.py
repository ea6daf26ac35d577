"""Random splits of tasks: which task has one whose seed follows ``train.seeds.data``.

A task's options have such a split if they have a section ``split`` with an option ``seed`` that is null. With a seed
of its own, or without ``train.seeds.data``, a split is the same in all runs.
"""

from __future__ import annotations

from fptkit.options import Options
from fptkit.recipe.models import Recipe


def draws_data(recipe: Recipe) -> bool:
    """Whether ``train.seeds.data`` decides which examples the run is trained on."""
    return recipe.train.data_fraction < 1 or _open_split(recipe.task.options) is not None


def with_split_seed(options: Options, seed: int | None) -> Options:
    """Give a task's random split the run's seed of data.

    Args:
        options: the task's.
        seed: ``train.seeds.data``.

    Returns:
        The options with ``split.seed`` set; unchanged if the split has its own seed, or the run has none.
    """
    split = _open_split(options)
    if split is None or seed is None:
        return options
    return options.model_copy(update={"split": split.model_copy(update={"seed": seed})})


def _open_split(options: Options) -> Options | None:
    """The task's random split, if its seed is null."""
    split = getattr(options, "split", None)
    if isinstance(split, Options) and "seed" in type(split).model_fields and getattr(split, "seed") is None:  # noqa: B009
        return split
    return None
